-- One database holds one site's facts: who lives where, with which devices; where they are registered; what happened.
-- Forward-only: a migration that has shipped is never edited.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
-- site: names the audit chain. realm: stored password hashes are bound to it.
-- generation: grows with every change of the directory, so that a running server notices.
INSERT INTO meta (key, value) VALUES ('generation', '0');

CREATE TABLE units (
    id    TEXT PRIMARY KEY,
    flags TEXT NOT NULL DEFAULT ''              -- space-separated, sorted
) STRICT;

CREATE TABLE people (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL DEFAULT '',
    role       TEXT NOT NULL DEFAULT 'resident',
    unit       TEXT REFERENCES units (id),
    revoked_at INTEGER                          -- microseconds since 1970, NULL while valid
) STRICT;
CREATE INDEX people_by_unit ON people (unit);

CREATE TABLE numbers (
    person   TEXT    NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,                  -- the order in which they are tried
    number   TEXT    NOT NULL,
    PRIMARY KEY (person, position)
) STRICT;

CREATE TABLE devices (
    id         TEXT PRIMARY KEY,                -- the SIP account's user name
    owner_kind TEXT NOT NULL CHECK (owner_kind IN ('person', 'unit', 'desk', 'door')),
    owner      TEXT NOT NULL,
    label      TEXT,                            -- "mobile" in @unit.mobile
    profile    TEXT NOT NULL DEFAULT 'generic',
    ha1_sha256 BLOB NOT NULL CHECK (length(ha1_sha256) = 32),
    ha1_md5    BLOB CHECK (length(ha1_md5) = 16),   -- many desk phones know nothing newer
    revoked_at INTEGER
) STRICT;
CREATE INDEX devices_by_owner ON devices (owner_kind, owner);

CREATE TABLE bindings (
    aor        TEXT    NOT NULL,
    contact    TEXT    NOT NULL,
    transport  TEXT    NOT NULL,
    local      TEXT    NOT NULL,                -- address:port of ours the registration came to
    remote     TEXT    NOT NULL,                -- address:port it came from
    path       TEXT    NOT NULL DEFAULT '[]',   -- JSON array, RFC 3327
    call_id    TEXT    NOT NULL,
    cseq       INTEGER NOT NULL,
    q          INTEGER NOT NULL DEFAULT 1000,   -- thousandths
    instance   TEXT,
    reg_id     INTEGER,
    user_agent TEXT,
    expires_at INTEGER NOT NULL,                -- microseconds since 1970
    PRIMARY KEY (aor, contact)
) STRICT;

CREATE TABLE cdr (
    call       TEXT PRIMARY KEY,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL,
    caller     TEXT NOT NULL,
    dialled    TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    record     TEXT NOT NULL,                   -- the whole CDR as JSON
    story      TEXT NOT NULL                    -- its lines
) STRICT;
CREATE INDEX cdr_by_start ON cdr (started_at);

CREATE TABLE audit (
    seq   INTEGER PRIMARY KEY,
    hash  BLOB NOT NULL CHECK (length(hash) = 32),
    entry TEXT NOT NULL,                        -- canonical form: what the hash is over
    -- Read out of the entry, so that they cannot say anything else; NULL when it is no JSON any more.
    -- Without its Z a time sorts as text whatever its number of decimals.
    at       TEXT AS (CASE WHEN json_valid (entry) THEN rtrim (entry ->> '$.at', 'Z') END) VIRTUAL,
    kind     TEXT AS (CASE WHEN json_valid (entry) THEN entry ->> '$.kind' END) VIRTUAL,
    door     TEXT AS (CASE WHEN json_valid (entry) THEN entry ->> '$.door' END) VIRTUAL,
    actor    TEXT AS (CASE WHEN json_valid (entry) THEN entry ->> '$.actor' END) VIRTUAL,
    method   TEXT AS (CASE WHEN json_valid (entry) THEN entry ->> '$.method' END) VIRTUAL,
    intent   TEXT AS (CASE WHEN json_valid (entry) THEN entry ->> '$.intent' END) VIRTUAL,
    decision TEXT AS (CASE WHEN json_valid (entry) THEN entry ->> '$.decision' END) VIRTUAL
) STRICT;
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_by_door ON audit (door, at) WHERE door IS NOT NULL;
CREATE INDEX audit_by_actor ON audit (actor, at) WHERE actor IS NOT NULL;
-- What cannot be read is shown whatever was asked for.
CREATE INDEX audit_unreadable ON audit (seq) WHERE kind IS NULL;
-- Recovery at start: grants without a result.
CREATE INDEX audit_grants ON audit (intent) WHERE kind = 'unlock' AND decision = 'granted';
CREATE INDEX audit_results ON audit (intent) WHERE kind = 'unlock-result';

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE (ABORT, 'the audit log is append-only'); END;

-- INSERT OR REPLACE would delete without asking the trigger above.
CREATE TRIGGER audit_at_the_end BEFORE INSERT ON audit
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM audit)
BEGIN SELECT RAISE (ABORT, 'an audit record joins at the end of the chain'); END;
