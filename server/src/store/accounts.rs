//! Units, people, devices and their SIP accounts.

use std::collections::BTreeMap;
use std::fmt;

use dialplan::{Device, Directory, Owner, Person, Redacted, Unit};
use intercom::audit::Entry;
use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::{Store, StoreError};

/// What digest authentication needs of one account. `Debug` shows no hash: with it anyone could log in.
#[derive(Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// User name; the device's id.
    pub user: String,
    /// Profile name: `generic`, `2n`, …
    pub profile: String,
    /// SHA-256 of `user:realm:password`.
    pub ha1_sha256: [u8; 32],
    /// MD5 of the same, for devices that know nothing newer.
    pub ha1_md5: Option<[u8; 16]>,
    /// Revoked accounts authenticate nobody.
    pub revoked: bool,
}

impl fmt::Debug for AccountRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountRow")
            .field("user", &self.user)
            .field("profile", &self.profile)
            .field("ha1", &"***")
            .field("revoked", &self.revoked)
            .finish()
    }
}

/// The directory at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows with every change.
    pub generation: u64,
    /// For the plan.
    pub directory: Directory,
    /// For authentication, by user name.
    pub accounts: BTreeMap<String, AccountRow>,
}

/// Rows to add or replace, and what the log says about it: one transaction.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Units.
    pub units: Vec<Unit>,
    /// People.
    pub people: Vec<Person>,
    /// Devices with their accounts.
    pub devices: Vec<(Device, AccountRow)>,
    /// Audit records of kind `credential`.
    pub audit: Vec<Entry>,
}

impl Store {
    /// Reads units, people, devices and accounts as they are at one moment.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut tx = self.read.begin().await?;
        let generation: String =
            sqlx::query_scalar("SELECT value FROM meta WHERE key = 'generation'")
                .fetch_one(&mut *tx)
                .await?;
        let units: Vec<(String, String)> =
            sqlx::query_as("SELECT id, flags FROM units ORDER BY id")
                .fetch_all(&mut *tx)
                .await?;
        let people: Vec<PersonColumns> =
            sqlx::query_as("SELECT id, name, role, unit, revoked_at FROM people ORDER BY id")
                .fetch_all(&mut *tx)
                .await?;
        let numbers: Vec<(String, String)> =
            sqlx::query_as("SELECT person, number FROM numbers ORDER BY person, position")
                .fetch_all(&mut *tx)
                .await?;
        let devices: Vec<DeviceColumns> = sqlx::query_as(
            "SELECT id, owner_kind, owner, label, profile, ha1_sha256, ha1_md5, revoked_at FROM devices ORDER BY id",
        )
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;

        let mut numbers_of: BTreeMap<String, Vec<Redacted>> = BTreeMap::new();
        for (person, number) in numbers {
            numbers_of
                .entry(person)
                .or_default()
                .push(Redacted::new(number));
        }
        let units = units.into_iter().map(|(id, flags)| Unit {
            id,
            flags: flags.split_whitespace().map(str::to_owned).collect(),
        });
        let people = people
            .into_iter()
            .map(|(id, name, role, unit, revoked_at)| Person {
                numbers: numbers_of.remove(&id).unwrap_or_default(),
                id,
                name: Redacted::new(name),
                role,
                unit,
                revoked: revoked_at.is_some(),
            });
        let rows = devices
            .into_iter()
            .map(DeviceColumns::rows)
            .collect::<Result<Vec<_>, _>>()?;
        let accounts = rows
            .iter()
            .map(|(_, account)| (account.user.clone(), account.clone()))
            .collect();
        let directory = Directory::new(
            units,
            people.collect::<Vec<_>>(),
            rows.into_iter().map(|(device, _)| device),
        );
        Ok(Snapshot {
            generation: generation.parse().unwrap_or(0),
            directory,
            accounts,
        })
    }

    /// Adds or replaces everything in `change` and logs it, or does nothing.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn apply(&self, change: &Change, at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write.begin_with("BEGIN IMMEDIATE").await?;
        for unit in &change.units {
            let flags = unit
                .flags
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(" ");
            sqlx::query("INSERT INTO units (id, flags) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET flags = excluded.flags")
                .bind(&unit.id)
                .bind(flags)
                .execute(&mut *tx)
                .await?;
        }
        for person in &change.people {
            put_person(&mut tx, person, at).await?;
        }
        for (device, account) in &change.devices {
            put_device(&mut tx, device, account, at).await?;
        }
        super::audit::append_in(&mut tx, &self.site, change.audit.iter().cloned()).await?;
        sqlx::query("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation'")
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

async fn put_person(
    tx: &mut SqliteConnection,
    person: &Person,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO people (id, name, role, unit, revoked_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE \
         SET name = excluded.name, role = excluded.role, unit = excluded.unit, revoked_at = excluded.revoked_at",
    )
    .bind(&person.id)
    .bind(person.name.reveal())
    .bind(&person.role)
    .bind(&person.unit)
    .bind(person.revoked.then(|| at.as_microsecond()))
    .execute(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM numbers WHERE person = ?")
        .bind(&person.id)
        .execute(&mut *tx)
        .await?;
    for (position, number) in person.numbers.iter().enumerate() {
        sqlx::query("INSERT INTO numbers (person, position, number) VALUES (?, ?, ?)")
            .bind(&person.id)
            .bind(i64::try_from(position).unwrap_or(i64::MAX))
            .bind(number.reveal())
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

async fn put_device(
    tx: &mut SqliteConnection,
    device: &Device,
    account: &AccountRow,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (kind, owner) = owner_columns(&device.owner);
    sqlx::query(
        "INSERT INTO devices (id, owner_kind, owner, label, profile, ha1_sha256, ha1_md5, revoked_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET owner_kind = excluded.owner_kind, \
         owner = excluded.owner, label = excluded.label, profile = excluded.profile, \
         ha1_sha256 = excluded.ha1_sha256, ha1_md5 = excluded.ha1_md5, revoked_at = excluded.revoked_at",
    )
    .bind(&device.id)
    .bind(kind)
    .bind(owner)
    .bind(&device.label)
    .bind(&account.profile)
    .bind(account.ha1_sha256.as_slice())
    .bind(account.ha1_md5.map(|hash| hash.to_vec()))
    .bind(device.revoked.then(|| at.as_microsecond()))
    .execute(&mut *tx)
    .await?;
    if device.revoked {
        // A revoked device is not rung from a binding of yesterday.
        sqlx::query(
            "DELETE FROM bindings WHERE substr(aor, 1, length(?1) + 5) = 'sip:' || ?1 || '@'",
        )
        .bind(&device.id)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

fn owner_columns(owner: &Owner) -> (&'static str, &str) {
    match owner {
        Owner::Person(id) => ("person", id),
        Owner::Unit(id) => ("unit", id),
        Owner::Desk(id) => ("desk", id),
        Owner::Door(id) => ("door", id),
    }
}

/// `id, name, role, unit, revoked_at`.
type PersonColumns = (String, String, String, Option<String>, Option<i64>);

#[derive(sqlx::FromRow)]
struct DeviceColumns {
    id: String,
    owner_kind: String,
    owner: String,
    label: Option<String>,
    profile: String,
    ha1_sha256: Vec<u8>,
    ha1_md5: Option<Vec<u8>>,
    revoked_at: Option<i64>,
}

impl DeviceColumns {
    fn rows(self) -> Result<(Device, AccountRow), StoreError> {
        let corrupt = |what: &str| StoreError::Corrupt(format!("{what} of device {}", self.id));
        let owner = match self.owner_kind.as_str() {
            "person" => Owner::Person(self.owner),
            "unit" => Owner::Unit(self.owner),
            "desk" => Owner::Desk(self.owner),
            "door" => Owner::Door(self.owner),
            _ => return Err(corrupt("owner")),
        };
        let revoked = self.revoked_at.is_some();
        let account = AccountRow {
            user: self.id.clone(),
            profile: self.profile,
            ha1_sha256: self
                .ha1_sha256
                .try_into()
                .map_err(|_| corrupt("password hash"))?,
            ha1_md5: self
                .ha1_md5
                .map(TryInto::try_into)
                .transpose()
                .map_err(|_| corrupt("password hash"))?,
            revoked,
        };
        Ok((
            Device {
                id: self.id,
                owner,
                label: self.label,
                revoked,
            },
            account,
        ))
    }
}
