//! The store on a real file: schema, directory, bindings, calls, and the audit chain under interference.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of the shell use files and clocks as the shell does, and may fail loudly"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use intercom::audit::{Checkpoint, Entry, Fault, Kind, Record, RecordId};
use jiff::Timestamp;
use server::store::{
    Acknowledged, AuditSettings, AuditWriter, BindingRow, BindingWrite, CallRow, Change,
    MIGRATIONS, Store, StoreError,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};

const DEADLINE: Duration = Duration::from_secs(20);

struct House {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/doorward.db");
        Self { _dir: dir, path }
    }

    async fn open(&self) -> Store {
        Store::open(&self.path, "elm-court", "doorward.local")
            .await
            .unwrap()
    }

    /// A connection of somebody else's.
    async fn raw(&self) -> SqliteConnection {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .connect()
            .await
            .unwrap()
    }

    /// What an intruder with the file does first.
    async fn without_triggers(&self) -> SqliteConnection {
        let mut raw = self.raw().await;
        for trigger in ["audit_no_update", "audit_no_delete", "audit_at_the_end"] {
            raw.execute(sqlx::AssertSqlSafe(format!("DROP TRIGGER {trigger}")))
                .await
                .unwrap();
        }
        raw
    }
}

fn entry(n: u64) -> Entry {
    Entry {
        detail: Some(format!("n{n}")),
        ..Entry::new(Timestamp::UNIX_EPOCH, "elm-court", Kind::Unlock)
    }
}

fn record(n: u64, durable: bool) -> Record {
    Record {
        id: RecordId(n),
        durable,
        entry: entry(n),
    }
}

fn writer(
    store: &Store,
    settings: AuditSettings,
) -> (
    AuditWriter,
    std::thread::JoinHandle<()>,
    mpsc::Receiver<Acknowledged>,
) {
    let (acknowledged, receiver) = mpsc::channel();
    let (writer, thread) = AuditWriter::spawn(store, settings, move |a| {
        acknowledged.send(a).unwrap_or_default();
    })
    .unwrap();
    (writer, thread, receiver)
}

/// Number of commits in the write-ahead log: frames whose header has the database size set (SQLite file format 4.1).
fn commits(database: &Path) -> usize {
    let wal = std::fs::read(format!("{}-wal", database.display())).unwrap();
    let page = usize::try_from(u32::from_be_bytes(wal[8..12].try_into().unwrap())).unwrap();
    let salt = wal[16..24].to_vec();
    let frames = wal[32..].chunks_exact(24 + page);
    frames
        .filter(|frame| frame[8..16] == salt && frame[4..8] != [0; 4])
        .count()
}

async fn filled(house: &House, n: u64) -> Store {
    let store = house.open().await;
    store
        .append_audit((1..=n).map(entry).collect())
        .await
        .unwrap();
    store
}

#[tokio::test]
async fn a_new_database_is_private_and_opens_again() {
    let house = House::new();
    house.open().await.close().await;
    let mode = std::fs::metadata(&house.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let store = house.open().await;
    assert_eq!(store.generation().await.unwrap(), 0);
    let mut raw = house.raw().await;
    let applied: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(usize::try_from(applied).unwrap(), MIGRATIONS.iter().count());
}

#[tokio::test]
async fn another_realm_or_site_is_refused_with_a_hint() {
    let house = House::new();
    house.open().await.close().await;
    let realm = Store::open(&house.path, "elm-court", "other")
        .await
        .unwrap_err();
    assert!(
        matches!(realm, StoreError::Other { key: "realm", .. }) && realm.hint().is_some(),
        "{realm}"
    );
    let site = Store::open(&house.path, "oak-house", "doorward.local")
        .await
        .unwrap_err();
    assert!(
        matches!(site, StoreError::Other { key: "site", .. }),
        "{site}"
    );
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let house = House::new();
    house.open().await.close().await;
    let mut raw = house.raw().await;
    raw.execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', 1, x'00', 0)",
    )
    .await
    .unwrap();
    let error = Store::open(&house.path, "elm-court", "doorward.local")
        .await
        .unwrap_err();
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("newer doorward")),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("doorward.db");
    std::fs::write(
        &path,
        "not a database, but a long enough text to be looked at as one",
    )
    .unwrap();
    assert!(
        Store::open(&path, "elm-court", "doorward.local")
            .await
            .is_err()
    );
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .starts_with("not a database"),
        "the file was overwritten"
    );
}

#[tokio::test]
async fn every_change_moves_the_generation() {
    let house = House::new();
    let store = house.open().await;
    let unit = dialplan::Unit {
        id: "101".into(),
        flags: ["quiet".to_owned()].into(),
    };
    let change = Change {
        units: vec![unit.clone()],
        audit: vec![entry(1)],
        ..Change::default()
    };
    store.apply(&change, Timestamp::UNIX_EPOCH).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.directory.unit("101"), Some(&unit));
    assert_eq!(
        (snapshot.generation, store.generation().await.unwrap()),
        (1, 1)
    );
    assert_eq!(store.verify(None).await.unwrap().unwrap().records, 1);
}

#[tokio::test]
async fn a_change_that_fails_leaves_nothing_behind() {
    let house = House::new();
    let store = house.open().await;
    let person = dialplan::Person {
        id: "anna".into(),
        name: "Anna".into(),
        role: "resident".into(),
        unit: Some("nowhere".into()),
        numbers: vec![],
        revoked: false,
    };
    let change = Change {
        units: vec![dialplan::Unit {
            id: "101".into(),
            flags: Default::default(),
        }],
        people: vec![person],
        audit: vec![entry(1)],
        ..Change::default()
    };
    assert!(store.apply(&change, Timestamp::UNIX_EPOCH).await.is_err());
    assert_eq!(store.generation().await.unwrap(), 0);
    assert!(store.snapshot().await.unwrap().directory.units().is_empty());
    assert_eq!(store.verify(None).await.unwrap().unwrap().records, 0);
}

fn binding(contact: &str, expires: i64) -> BindingRow {
    BindingRow {
        aor: "sip:anna-1@doorward.local".into(),
        place: contact.into(),
        contact: contact.into(),
        transport: "udp".into(),
        local: "192.0.2.1:5060".into(),
        remote: "[2001:db8::1]:40000".into(),
        path: vec!["<sip:edge;lr>".into()],
        call_id: "c".into(),
        cseq: u32::MAX,
        q: 500,
        outbound: true,
        gruu: Some(u64::MAX),
        instance: Some("urn:uuid:1".into()),
        reg_id: Some(1),
        user_agent: None,
        expires: Timestamp::from_second(expires).unwrap(),
    }
}

#[tokio::test]
async fn bindings_come_back_after_a_restart_and_expired_ones_do_not() {
    let house = House::new();
    let store = house.open().await;
    let (a, b, c) = (
        binding("sip:a", 1_000),
        binding("sip:b", 2_000),
        binding("sip:c", 3_000),
    );
    let puts = [&a, &b, &c].map(|row| BindingWrite::Put(Box::new(row.clone())));
    store.save_bindings(&puts).await.unwrap();
    let moved = BindingRow {
        remote: "192.0.2.9:1".into(),
        ..b.clone()
    };
    let remove = BindingWrite::Remove {
        aor: c.aor.clone(),
        place: c.place.clone(),
    };
    store
        .save_bindings(&[BindingWrite::Put(Box::new(moved.clone())), remove])
        .await
        .unwrap();
    store.close().await;
    let restored = house
        .open()
        .await
        .restore_bindings(Timestamp::from_second(1_500).unwrap())
        .await
        .unwrap();
    assert_eq!(restored, [moved]);
}

fn call(id: &str, started: i64) -> CallRow {
    CallRow {
        call: id.into(),
        started: Timestamp::from_second(started).unwrap(),
        ended: Timestamp::from_second(started + 5).unwrap(),
        caller: "door:lobby".into(),
        dialled: "101".into(),
        outcome: "answered".into(),
        record: "{}".into(),
    }
}

#[tokio::test]
async fn a_call_is_found_by_an_unambiguous_beginning() {
    let house = House::new();
    let store = house.open().await;
    let story = ["0.0 s  INVITE".to_owned(), "0.1 s  ring".to_owned()];
    let calls = [
        (call("7f3a01", 100), story.join("\n")),
        (call("7f3b02", 200), String::new()),
        (call("7f", 300), String::new()),
    ];
    store.save_calls(&calls).await.unwrap();
    let (found, told) = store.call("7f3a").await.unwrap().unwrap();
    assert_eq!((found, told), (call("7f3a01", 100), story.to_vec()));
    assert!(
        store.call("7f3").await.unwrap().is_none(),
        "two calls begin so"
    );
    assert_eq!(
        store.call("7f").await.unwrap().unwrap().0.call,
        "7f",
        "a whole id is never ambiguous"
    );
    assert!(store.call("%").await.unwrap().is_none());
    let newest: Vec<String> = store
        .calls(&server::store::CallFilter::default(), 2)
        .await
        .unwrap()
        .into_iter()
        .map(|call| call.call)
        .collect();
    assert_eq!(newest, ["7f", "7f3b02"]);
}

#[tokio::test]
async fn records_are_acknowledged_in_order_and_the_chain_holds() {
    let house = House::new();
    let store = house.open().await;
    let (writer, thread, acknowledged) = writer(&store, AuditSettings::default());
    for n in 1..=300 {
        writer.submit(record(n, n % 3 == 0)).await.unwrap();
    }
    drop(writer);
    thread.join().unwrap();
    let order: Vec<_> = acknowledged.try_iter().collect();
    assert_eq!(
        order,
        (1..=300)
            .map(|n| Acknowledged::Recorded(RecordId(n)))
            .collect::<Vec<_>>()
    );
    assert_eq!(store.verify(None).await.unwrap().unwrap().records, 300);
}

#[tokio::test]
async fn records_that_wait_together_are_committed_together() {
    let house = House::new();
    let store = house.open().await;
    let (writer, thread, acknowledged) = writer(&store, AuditSettings::default());
    writer.submit(record(0, true)).await.unwrap();
    assert_eq!(
        acknowledged.recv_timeout(DEADLINE),
        Ok(Acknowledged::Recorded(RecordId(0)))
    );
    let mut other = house.raw().await;
    let before = commits(&house.path);
    // While another writer holds the database, records pile up; then they go in groups of `batch`.
    let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    for n in 1..=500 {
        writer.submit(record(n, false)).await.unwrap();
    }
    lock.rollback().await.unwrap();
    for n in 1..=500 {
        assert_eq!(
            acknowledged.recv_timeout(DEADLINE),
            Ok(Acknowledged::Recorded(RecordId(n)))
        );
    }
    let groups = commits(&house.path) - before;
    assert!(
        (1..=6).contains(&groups),
        "500 records took {groups} commits"
    );
    drop(writer);
    thread.join().unwrap();
    assert_eq!(store.verify(None).await.unwrap().unwrap().records, 501);
}

#[tokio::test]
async fn a_durable_record_that_cannot_be_committed_in_time_fails_and_the_rest_is_kept() {
    let house = House::new();
    let store = house.open().await;
    let settings = AuditSettings {
        commit_within: Duration::from_millis(100),
        ..AuditSettings::default()
    };
    let (writer, thread, acknowledged) = writer(&store, settings);
    let mut other = house.raw().await;
    let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let asked = Instant::now();
    writer.submit(record(1, false)).await.unwrap();
    writer.submit(record(2, true)).await.unwrap();
    let first = acknowledged.recv_timeout(DEADLINE).unwrap();
    assert!(
        matches!(first, Acknowledged::Failed(RecordId(2), _)),
        "{first:?}"
    );
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "told after {:?}",
        asked.elapsed()
    );
    lock.rollback().await.unwrap();
    assert_eq!(
        acknowledged.recv_timeout(DEADLINE),
        Ok(Acknowledged::Recorded(RecordId(1)))
    );
    writer.submit(record(3, true)).await.unwrap();
    assert_eq!(
        acknowledged.recv_timeout(DEADLINE),
        Ok(Acknowledged::Recorded(RecordId(3)))
    );
    drop(writer);
    thread.join().unwrap();
    let stored: Vec<_> = store
        .links(None)
        .await
        .unwrap()
        .into_iter()
        .map(|link| link.canonical)
        .collect();
    assert_eq!(stored.len(), 2, "the failed record is not in the log");
    assert!(store.verify(None).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_full_queue_gives_the_record_back() {
    let house = House::new();
    let store = house.open().await;
    let settings = AuditSettings {
        queue: 4,
        batch: 4,
        commit_within: Duration::from_millis(100),
    };
    let (writer, thread, acknowledged) = writer(&store, settings);
    let mut other = house.raw().await;
    let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let mut taken = 0;
    let back = loop {
        match writer.try_submit(record(taken, false)) {
            Ok(()) => taken += 1,
            // The writer may still be taking records over: full for good only with its own four kept.
            Err(back) if taken >= 8 => break back,
            Err(_) => tokio::task::yield_now().await,
        }
        assert!(taken <= 8, "more is kept than queue and writer may hold");
    };
    assert_eq!(back.id, RecordId(8));
    lock.rollback().await.unwrap();
    for n in 0..8 {
        assert_eq!(
            acknowledged.recv_timeout(DEADLINE),
            Ok(Acknowledged::Recorded(RecordId(n)))
        );
    }
    drop(writer);
    thread.join().unwrap();
}

#[tokio::test]
async fn two_processes_extend_one_chain() {
    let house = House::new();
    let store = house.open().await;
    let (writer, thread, _acknowledged) = writer(&store, AuditSettings::default());
    let command_line = house.open().await;
    for n in 0..50 {
        writer.submit(record(n, true)).await.unwrap();
        command_line
            .append_audit(vec![entry(1_000 + n)])
            .await
            .unwrap();
    }
    drop(writer);
    thread.join().unwrap();
    assert_eq!(store.verify(None).await.unwrap().unwrap().records, 100);
}

#[tokio::test]
async fn the_log_cannot_be_changed_through_sql() {
    let house = House::new();
    filled(&house, 3).await;
    let mut raw = house.raw().await;
    for sql in [
        "UPDATE audit SET entry = '{}' WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 3",
        "INSERT OR REPLACE INTO audit (seq, hash, entry) VALUES (2, zeroblob(32), '{}')",
        "INSERT INTO audit (seq, hash, entry) VALUES (9, zeroblob(32), '{}')",
    ] {
        assert!(raw.execute(sql).await.is_err(), "{sql}");
    }
}

#[tokio::test]
async fn a_flipped_byte_is_found() {
    let house = House::new();
    let store = filled(&house, 5).await;
    let mut raw = house.without_triggers().await;
    raw.execute("UPDATE audit SET entry = replace(entry, 'n3', 'n7') WHERE seq = 3")
        .await
        .unwrap();
    assert_eq!(
        store.verify(None).await.unwrap(),
        Err(Fault::Changed { seq: 3 })
    );
    raw.execute("UPDATE audit SET entry = CAST(x'7b22ff22' AS TEXT) WHERE seq = 2")
        .await
        .unwrap();
    assert_eq!(
        store.verify(None).await.unwrap(),
        Err(Fault::Changed { seq: 2 }),
        "bytes that are no text"
    );
}

#[tokio::test]
async fn a_flipped_bit_in_the_file_itself_is_found() {
    let house = House::new();
    filled(&house, 5).await.close().await;
    let mut bytes = std::fs::read(&house.path).unwrap();
    let at = bytes.windows(2).position(|window| window == b"n4").unwrap();
    bytes[at + 1] ^= 1;
    std::fs::write(&house.path, bytes).unwrap();
    assert_eq!(
        house.open().await.verify(None).await.unwrap(),
        Err(Fault::Changed { seq: 4 })
    );
}

#[tokio::test]
async fn a_missing_record_is_found() {
    let house = House::new();
    let store = filled(&house, 5).await;
    house
        .without_triggers()
        .await
        .execute("DELETE FROM audit WHERE seq = 2")
        .await
        .unwrap();
    assert_eq!(
        store.verify(None).await.unwrap(),
        Err(Fault::Missing { seq: 2 })
    );
}

#[tokio::test]
async fn swapped_records_are_found() {
    let house = House::new();
    let store = filled(&house, 5).await;
    let mut raw = house.without_triggers().await;
    for sql in [
        "UPDATE audit SET seq = -1 WHERE seq = 2",
        "UPDATE audit SET seq = 2 WHERE seq = 3",
        "UPDATE audit SET seq = 3 WHERE seq = -1",
    ] {
        raw.execute(sql).await.unwrap();
    }
    assert_eq!(
        store.verify(None).await.unwrap(),
        Err(Fault::Reordered { seq: 2, found: 3 })
    );
}

#[tokio::test]
async fn a_cut_tail_is_found_by_a_checkpoint() {
    let house = House::new();
    let store = filled(&house, 5).await;
    let summary = store.verify(None).await.unwrap().unwrap();
    let checkpoint = Checkpoint {
        seq: summary.records,
        hash: summary.head,
    };
    house
        .without_triggers()
        .await
        .execute("DELETE FROM audit WHERE seq = 5")
        .await
        .unwrap();
    assert!(
        store.verify(None).await.unwrap().is_ok(),
        "nothing inside shows it"
    );
    assert_eq!(
        store.verify(Some(checkpoint)).await.unwrap(),
        Err(Fault::Cut { seq: 5 })
    );
}

#[tokio::test]
async fn a_long_chain_is_walked_page_by_page() {
    let house = House::new();
    let store = filled(&house, 2_500).await;
    assert_eq!(store.verify(None).await.unwrap().unwrap().records, 2_500);
    house
        .without_triggers()
        .await
        .execute("DELETE FROM audit WHERE seq = 1001")
        .await
        .unwrap();
    assert_eq!(
        store.verify(None).await.unwrap(),
        Err(Fault::Missing { seq: 1001 }),
        "on the edge of a page"
    );
}

#[tokio::test]
async fn the_writer_ends_even_when_the_database_never_comes_back() {
    let house = House::new();
    let store = house.open().await;
    let settings = AuditSettings {
        commit_within: Duration::from_millis(50),
        ..AuditSettings::default()
    };
    let (writer, thread, acknowledged) = writer(&store, settings);
    let mut other = house.raw().await;
    let _lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    writer.submit(record(1, false)).await.unwrap();
    drop(writer);
    thread.join().unwrap();
    assert!(
        acknowledged.try_iter().next().is_none(),
        "what is not on disk is not acknowledged"
    );
}

#[tokio::test]
async fn bindings_of_the_previous_schema_are_taken_over() {
    let house = House::new();
    std::fs::create_dir_all(house.path.parent().unwrap()).unwrap();
    // A database as the first release left it.
    let first = MIGRATIONS.iter().next().expect("a first migration");
    let mut raw = SqliteConnectOptions::new()
        .filename(&house.path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    raw.execute(
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
         installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, \
         execution_time BIGINT NOT NULL)",
    )
    .await
    .unwrap();
    raw.execute(first.sql.clone()).await.unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (?, ?, 1, ?, 1)")
        .bind(first.version)
        .bind(&*first.description)
        .bind(&*first.checksum)
        .execute(&mut raw)
        .await
        .unwrap();
    raw.execute(
        "INSERT INTO bindings (aor, contact, transport, local, remote, call_id, cseq, instance, reg_id, expires_at) VALUES \
         ('sip:a@x', 'sip:a@192.0.2.7', 'udp', '192.0.2.1:5060', '192.0.2.7:5060', 'c', 1, NULL, NULL, 9000000000), \
         ('sip:a@x', 'sip:a@192.0.2.8', 'tcp', '192.0.2.1:5060', '192.0.2.8:5060', 'd', 2, '<urn:uuid:1>', 1, 9000000000)",
    )
    .await
    .unwrap();
    raw.close().await.unwrap();
    let store = house.open().await;
    let rows = store
        .restore_bindings(Timestamp::from_second(1_500).unwrap())
        .await
        .unwrap();
    let seen: Vec<(&str, &str, bool)> = rows
        .iter()
        .map(|row| (row.place.as_str(), row.contact.as_str(), row.outbound))
        .collect();
    assert_eq!(
        seen,
        [
            ("1 <urn:uuid:1>", "sip:a@192.0.2.8", false),
            ("sip:a@192.0.2.7", "sip:a@192.0.2.7", false)
        ]
    );
}

#[tokio::test]
async fn two_flows_with_one_contact_are_two_bindings_and_lapsed_ones_are_known() {
    let house = House::new();
    let store = house.open().await;
    let one = BindingRow {
        place: "1 urn:uuid:1".into(),
        ..binding("sip:a", 2_000)
    };
    let two = BindingRow {
        place: "2 urn:uuid:1".into(),
        reg_id: Some(2),
        ..binding("sip:a", 2_000)
    };
    let lapsed = BindingRow {
        remote: "192.0.2.44:5060".into(),
        ..binding("sip:b", 1_000)
    };
    let puts = [&one, &two, &lapsed].map(|row| BindingWrite::Put(Box::new(row.clone())));
    store.save_bindings(&puts).await.unwrap();
    let (since, now) = (
        Timestamp::from_second(500).unwrap(),
        Timestamp::from_second(1_500).unwrap(),
    );
    assert_eq!(
        store.lapsed_sources(since, now).await.unwrap(),
        ["192.0.2.44:5060"]
    );
    assert_eq!(store.restore_bindings(now).await.unwrap(), [one, two]);
    assert!(store.lapsed_sources(since, now).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_secret_is_made_once_and_kept() {
    let house = House::new();
    let store = house.open().await;
    assert_eq!(store.secret("gruu-key", [7; 32]).await.unwrap(), [7; 32]);
    store.close().await;
    let again = house.open().await.secret("gruu-key", [8; 32]).await;
    assert_eq!(again.unwrap(), [7; 32]);
}
