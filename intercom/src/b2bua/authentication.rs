//! Who sent a request: digest, a client certificate, or a peer known by its address. `From` is never asked.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use sip_proxy::digest::{AuthVerdict, Authenticator, AuthenticatorConfig, Ha1};
use sip_proxy::{ConnectionId, Flow, HeaderName, Message, Method, OutgoingResponse, ServerTx, Uri};

use super::{B2bua, Output};
use crate::Now;
use crate::audit::Kind;
use crate::buzz::ACTION;
use crate::call::Party;
use crate::config::TrustedPeer;
use crate::site::Site;

/// Failed authentications written to the log a minute; more are only counted, so that a flood fills no disk.
const AUTH_RECORDS: u32 = 60;

impl B2bua {
    /// The authenticated sender of a request; `None` when it was answered here (401 or 403). `by_itself`: the source
    /// address is not enough, the request must prove who sent it.
    pub(super) fn authenticate(
        &mut self,
        now: Now,
        tx: ServerTx,
        message: &Message,
        flow: &Flow,
        by_itself: bool,
    ) -> Option<Party> {
        if let Some(user) = self.certified_account(flow) {
            let party = self.site.party(user);
            if party.is_none() {
                self.answer(tx, OutgoingResponse::new(403));
            }
            return party;
        }
        if !by_itself && let Some(user) = self.site.config.trusted_account(flow.remote.ip()) {
            let party = self.site.party(user);
            if party.is_none() {
                self.answer(tx, OutgoingResponse::new(403));
            }
            return party;
        }
        if !by_itself && let Some(party) = self.trunk_calls(message, flow) {
            return Some(party);
        }
        let accounts = std::sync::Arc::clone(&self.site.accounts);
        let lookup = |user: &str| accounts.get(user).map(|account| &account.ha1);
        // Within a dialog a digit may unlock, and an Action says so.
        let unlocks = message.to_tag().is_some()
            || message.header(&HeaderName::Other(ACTION.into())).is_some();
        let lenient = !unlocks && self.site.has_repeaters();
        let verdict = if lenient {
            let profiles = std::mem::take(&mut self.site.config.profiles);
            let repeats = |user: &str| {
                let profile = accounts.get(user).map(|account| &account.profile);
                profile
                    .and_then(|profile| profiles.get(profile))
                    .is_some_and(|profile| profile.repeats_nonce)
            };
            let verdict = self.authenticator(now).check_lenient(
                now.mono,
                message,
                flow.remote,
                lookup,
                repeats,
            );
            self.site.config.profiles = profiles;
            verdict
        } else {
            self.authenticator(now)
                .check(now.mono, message, flow.remote, lookup)
        };
        match verdict {
            AuthVerdict::Granted { user, .. } => {
                // Registrations say where an account is at home; who never registers has to be remembered.
                if *message.method() != Method::Register && !self.is_home(now, &user, flow) {
                    self.penalties.at_home(now.mono, &user, flow.remote.ip());
                }
                let party = self.site.party(&user);
                if party.is_none() {
                    self.answer(tx, OutgoingResponse::new(403));
                }
                party
            }
            AuthVerdict::Missing => {
                self.challenge(now, tx, false);
                None
            }
            AuthVerdict::Stale => {
                self.challenge(now, tx, true);
                None
            }
            AuthVerdict::Wrong { user } => {
                self.counters.wrong_credentials += 1;
                self.record_failure(now, &user, message, flow);
                if !self.is_home(now, &user, flow) {
                    let source = self.penalties.failed(now.mono, flow.remote.ip());
                    let account = self.penalties.failed_as(now.mono, &user);
                    self.counters.penalties += u64::from(source) + u64::from(account);
                }
                self.challenge(now, tx, false);
                None
            }
        }
    }

    /// A trunk, known by its address. It may call, and speak in its calls; it registers nothing and opens nothing. A
    /// request with credentials is a device's: a phone may stand behind the same proxy as the trunk.
    fn trunk_calls(&self, message: &Message, flow: &Flow) -> Option<Party> {
        let trunk = self.site.config.trunk_at(flow.remote.ip())?;
        let calls = *message.method() == Method::Invite || message.to_tag().is_some();
        let is_device = [HeaderName::Authorization, HeaderName::ProxyAuthorization]
            .iter()
            .any(|name| message.header(name).is_some());
        if !calls || is_device {
            return None;
        }
        self.site.party(&Site::trunk_user(&trunk.name))
    }

    /// A peer proved its names; if one is an account's, its connection speaks for that account and no other.
    pub(super) fn certified(&mut self, connection: ConnectionId, names: &[String]) {
        let known = &self.site.config.certified;
        if let Some(name) = names.iter().find(|name| known.contains_key(*name)) {
            self.certified.insert(connection, name.clone());
        }
    }

    /// Other peers are known by address and certificate now. A connection whose certificate stood for an account and
    /// does so no more is a stranger's: what was registered by it goes.
    pub(super) fn set_peers(
        &mut self,
        now: Now,
        trusted: Vec<TrustedPeer>,
        certified: BTreeMap<String, String>,
    ) {
        let before = std::mem::replace(&mut self.site.config.certified, certified);
        self.site.config.trusted = trusted;
        let known = &self.site.config.certified;
        let gone: Vec<ConnectionId> = self
            .certified
            .iter()
            .filter(|(_, name)| known.get(*name) != before.get(*name))
            .map(|(connection, _)| *connection)
            .collect();
        for connection in gone {
            let changes = self.site.location.connection_closed(connection);
            self.bindings_changed(now, changes);
        }
        let known = &self.site.config.certified;
        self.certified.retain(|_, name| known.contains_key(name));
        self.qualify_all(now);
    }

    /// The account a connection speaks for. Unlike an address this is proof enough for an unlock: what comes by the
    /// connection comes from who holds the key.
    fn certified_account(&self, flow: &Flow) -> Option<&str> {
        let name = self.certified.get(&flow.connection?)?;
        self.site.config.certified.get(name).map(String::as_str)
    }

    /// Whether a source is where the account is at home: it has or lately had a registration there, has called from there,
    /// or is known by the address. Who sends from a stranger's address in a door's name must not be able to silence the door.
    fn is_home(&self, now: Now, user: &str, flow: &Flow) -> bool {
        let source = flow.remote.ip();
        self.site.config.trusted_account(source) == Some(user)
            || self.penalties.is_at_home(user, source)
            || self
                .site
                .location
                .lookup(&self.site.aor(user), now.mono)
                .iter()
                .any(|binding| binding.source == source)
    }

    /// Whether a message is dropped unanswered. From a source under penalty that is every new request, but one in the name
    /// of an account that is at home there; from elsewhere one that names an account under penalty where it is not at home.
    /// What belongs to dialogs and transactions goes on.
    pub(super) fn is_silenced(&mut self, now: Now, flow: &Flow, bytes: &Bytes) -> bool {
        let by_source = self.penalties.silent(now.mono, flow.remote.ip());
        let none = !by_source && !self.penalties.accounts_silent(now.mono);
        if none || self.certified_account(flow).is_some() {
            return false;
        }
        let limits = self.site.config.endpoint.limits.clone();
        let Ok(message) = Message::parse(bytes.clone(), &limits) else {
            return by_source;
        };
        let goes_on = !message.is_request()
            || matches!(message.method(), Method::Ack | Method::Cancel)
            || message.to_tag().is_some_and(|tag| !tag.is_empty());
        if goes_on {
            return false;
        }
        // With no account in sight, this only reads whose name is given: the same reading as when it counts.
        let verdict =
            self.authenticator(now)
                .check(now.mono, &message, flow.remote, |_| None::<Ha1>);
        let user = match verdict {
            AuthVerdict::Wrong { user } => Some(user),
            // Known by its address, which somebody may have written on wrong passwords of his own.
            _ if self.site.config.trusted_account(flow.remote.ip()).is_some()
                || self.site.config.trunk_at(flow.remote.ip()).is_some() =>
            {
                return false;
            }
            // No credentials yet: whom the request says it is from decides who may be asked for some.
            _ => Uri::parse(message.from().uri)
                .ok()
                .and_then(|uri| uri.user_unescaped()),
        };
        let Some(user) = user else { return by_source };
        (by_source || self.penalties.silent_as(now.mono, &user)) && !self.is_home(now, &user, flow)
    }

    fn authenticator(&mut self, now: Now) -> &mut Authenticator {
        let config = &self.site.config;
        self.authenticator.get_or_insert_with(|| {
            let settings = AuthenticatorConfig {
                nonce_lifetime: config.nonce_life,
                algorithms: config.digest.clone(),
                ..AuthenticatorConfig::default()
            };
            Authenticator::new(config.realm.clone(), config.nonce_key, now.mono, settings)
        })
    }

    fn challenge(&mut self, now: Now, tx: ServerTx, stale: bool) {
        self.counters.challenged += 1;
        let headers = self.authenticator(now).challenge(now.mono, stale, false);
        let mut response = OutgoingResponse::new(401);
        response.headers = headers;
        self.answer(tx, response);
    }

    fn record_failure(&mut self, now: Now, user: &str, message: &Message, flow: &Flow) {
        let fresh = self
            .auth_records
            .0
            .is_none_or(|since| now.mono >= since + Duration::from_secs(60));
        if fresh {
            self.auth_records = (Some(now.mono), 0);
        }
        if self.auth_records.1 >= AUTH_RECORDS {
            return;
        }
        self.auth_records.1 += 1;
        let mut entry = self.journal.entry(now.civil, Kind::AuthFailure);
        // A name we know is an account; another one may be a password typed into the wrong field.
        entry.actor = self
            .site
            .accounts
            .get(user)
            .map(|_| format!("device:{user}"));
        entry.leg = Some(flow.remote.to_string());
        entry.method = Some(message.method().as_str().chars().take(16).collect());
        let record = self.journal.record(entry);
        self.queue.push_back(Output::Record(record));
    }

    /// Answers a request outside calls.
    pub(super) fn answer(&mut self, tx: ServerTx, response: OutgoingResponse) {
        self.site.sip(sip_proxy::Input::Respond { tx, response });
    }
}
