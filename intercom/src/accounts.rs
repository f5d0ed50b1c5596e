//! SIP accounts: who may log in, and which device and profile an account is. A snapshot built
//! from the store; a reload brings a new one.

use std::collections::BTreeMap;

use sip_proxy::digest::Ha1;

/// One SIP account. Identity comes from here alone, never from a `From` header.
#[derive(Clone, Debug)]
pub struct Account {
    /// H(A1) for the site realm; redacted in `Debug`.
    pub ha1: Ha1,
    /// The directory's device id this account is.
    pub device: String,
    /// Station profile name; an unknown one means `generic`.
    pub profile: String,
}

/// Accounts by user name.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    users: BTreeMap<String, Account>,
    by_device: BTreeMap<String, String>,
}

impl Accounts {
    /// An empty snapshot.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an account. A second account of one device replaces the first as the way to reach it.
    pub fn insert(&mut self, user: &str, account: Account) {
        self.by_device
            .insert(account.device.clone(), user.to_owned());
        self.users.insert(user.to_owned(), account);
    }

    /// The account of a user name.
    pub fn get(&self, user: &str) -> Option<&Account> {
        self.users.get(user)
    }

    /// The user name under which a device registers.
    pub fn user_of(&self, device: &str) -> Option<&str> {
        self.by_device.get(device).map(String::as_str)
    }

    /// Number of accounts.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is no account.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}
