//! Bindings, so that a restarted server rings phones that have not registered again yet.

use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::json;

use super::{Store, StoreError};

/// One registered contact, with its expiry in civil time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingRow {
    /// Address-of-record.
    pub aor: String,
    /// What tells it from the others of its address-of-record.
    pub place: String,
    /// Contact URI.
    pub contact: String,
    /// `udp`, `tcp`, `tls`, `ws`, `wss`.
    pub transport: String,
    /// Our end of the flow, `address:port`.
    pub local: String,
    /// The device's end of the flow, `address:port`.
    pub remote: String,
    /// Path URIs (RFC 3327).
    pub path: Vec<String>,
    /// Call-ID of the registration.
    pub call_id: String,
    /// CSeq of the registration.
    pub cseq: u32,
    /// q-value in thousandths.
    pub q: u16,
    /// Whether its flow alone leads to it (RFC 5626).
    pub outbound: bool,
    /// `+sip.instance`.
    pub instance: Option<String>,
    /// `reg-id`.
    pub reg_id: Option<u32>,
    /// What the device calls itself.
    pub user_agent: Option<String>,
    /// Which temporary GRUUs are its own (RFC 5627).
    pub gruu: Option<u64>,
    /// When it ends.
    pub expires: Timestamp,
}

/// A change to write behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindingWrite {
    /// Added, refreshed or moved.
    Put(Box<BindingRow>),
    /// Removed or expired.
    Remove {
        /// Address-of-record.
        aor: String,
        /// As in [`BindingRow::place`].
        place: String,
    },
}

impl Store {
    /// Applies `changes` in order, in one transaction, without fsync.
    ///
    /// # Errors
    /// When the database cannot be written; then none is applied.
    pub async fn save_bindings(&self, changes: &[BindingWrite]) -> Result<(), StoreError> {
        let mut tx = self.behind.begin_with("BEGIN IMMEDIATE").await?;
        let kind = |change: &BindingWrite| std::mem::discriminant(change);
        for run in changes.chunk_by(|one, next| kind(one) == kind(next)) {
            let (mut puts, mut removals) = (Vec::new(), Vec::new());
            for change in run {
                match change {
                    BindingWrite::Put(row) => puts.push(&**row),
                    BindingWrite::Remove { aor, place } => removals.push(json!([aor, place])),
                }
            }
            put(&mut tx, &puts).await?;
            if !removals.is_empty() {
                sqlx::query(REMOVE)
                    .bind(serde_json::Value::Array(removals).to_string())
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Where registrations that ended before `now`, but not before `since`, had come from. To be asked before
    /// [`Self::restore_bindings`] deletes them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lapsed_sources(
        &self,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query_scalar(
            "SELECT DISTINCT remote FROM bindings WHERE expires_at > ? AND expires_at <= ? LIMIT 65536",
        )
        .bind(since.as_microsecond())
        .bind(now.as_microsecond())
        .fetch_all(&self.behind)
        .await?;
        Ok(rows)
    }

    /// All bindings that still hold at `now`, ordered by address-of-record; those that ended are deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn restore_bindings(&self, now: Timestamp) -> Result<Vec<BindingRow>, StoreError> {
        sqlx::query("DELETE FROM bindings WHERE expires_at <= ?")
            .bind(now.as_microsecond())
            .execute(&self.behind)
            .await?;
        let rows: Vec<BindingColumns> = sqlx::query_as(
            "SELECT aor, place, contact, transport, local, remote, path, call_id, cseq, q, outbound, instance, reg_id, \
             user_agent, gruu, expires_at FROM bindings ORDER BY aor, place",
        )
        .fetch_all(&self.behind)
        .await?;
        rows.into_iter().map(BindingColumns::row).collect()
    }
}

/// Rows of the largest statement, as a power of two.
const LARGEST: u32 = 7;
const COLUMNS: usize = 16;

/// Statements for 1, 2, 4 … rows: few enough to stay prepared, and a run of any length is a few of them. A statement for
/// each row would be a change of threads and back; one that unpacks JSON costs several times as much.
static PUT: LazyLock<Vec<String>> = LazyLock::new(|| {
    let row = format!("({})", vec!["?"; COLUMNS].join(", "));
    let rows = (0..=LARGEST).map(|power| vec![row.as_str(); 1 << power].join(", "));
    rows.map(|rows| {
        format!(
            "INSERT OR REPLACE INTO bindings (aor, place, contact, transport, local, remote, path, call_id, cseq, q, \
             outbound, instance, reg_id, user_agent, gruu, expires_at) VALUES {rows}"
        )
    })
    .collect()
});

/// Writes rows in order.
async fn put(tx: &mut sqlx::SqliteConnection, mut rows: &[&BindingRow]) -> Result<(), StoreError> {
    while !rows.is_empty() {
        let power = rows.len().ilog2().min(LARGEST);
        let (now, later) = rows.split_at(1 << power);
        let Some(sql) = PUT.get(power as usize) else {
            return Ok(());
        };
        let mut query = sqlx::query(sql.as_str());
        for row in now {
            query = query
                .bind(&row.aor)
                .bind(&row.place)
                .bind(&row.contact)
                .bind(&row.transport)
                .bind(&row.local)
                .bind(&row.remote)
                .bind(serde_json::to_string(&row.path).unwrap_or_default())
                .bind(&row.call_id)
                .bind(row.cseq)
                .bind(row.q)
                .bind(row.outbound)
                .bind(&row.instance)
                .bind(row.reg_id)
                .bind(&row.user_agent)
                // The column is signed: the same 64 bits.
                .bind(row.gruu.map(u64::cast_signed))
                .bind(row.expires.as_microsecond());
        }
        query.execute(&mut *tx).await?;
        rows = later;
    }
    Ok(())
}

const REMOVE: &str = "DELETE FROM bindings WHERE (aor, place) IN \
     (SELECT value ->> 0, value ->> 1 FROM json_each(?))";

#[derive(sqlx::FromRow)]
struct BindingColumns {
    aor: String,
    place: String,
    contact: String,
    transport: String,
    local: String,
    remote: String,
    path: String,
    call_id: String,
    cseq: u32,
    q: u16,
    outbound: bool,
    instance: Option<String>,
    reg_id: Option<u32>,
    user_agent: Option<String>,
    gruu: Option<i64>,
    expires_at: i64,
}

impl BindingColumns {
    fn row(self) -> Result<BindingRow, StoreError> {
        Ok(BindingRow {
            path: serde_json::from_str(&self.path).map_err(|e| {
                StoreError::Corrupt(format!("path of binding {}: {e}", self.contact))
            })?,
            expires: super::timestamp(self.expires_at)?,
            aor: self.aor,
            place: self.place,
            contact: self.contact,
            transport: self.transport,
            local: self.local,
            remote: self.remote,
            call_id: self.call_id,
            cseq: self.cseq,
            q: self.q,
            outbound: self.outbound,
            gruu: self.gruu.map(i64::cast_unsigned),
            instance: self.instance,
            reg_id: self.reg_id,
            user_agent: self.user_agent,
        })
    }
}
