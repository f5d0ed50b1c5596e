-- A device may hold several flows with one contact (RFC 5626): a binding's place is its instance and reg-id, else its contact.

CREATE TABLE bindings_by_place (
    aor        TEXT    NOT NULL,
    place      TEXT    NOT NULL,                -- the contact, or "<reg-id> <instance>" of a flow
    contact    TEXT    NOT NULL,
    transport  TEXT    NOT NULL,
    local      TEXT    NOT NULL,                -- address:port of ours the registration came to
    remote     TEXT    NOT NULL,                -- address:port it came from
    path       TEXT    NOT NULL DEFAULT '[]',   -- JSON array, RFC 3327
    call_id    TEXT    NOT NULL,
    cseq       INTEGER NOT NULL,
    q          INTEGER NOT NULL DEFAULT 1000,   -- thousandths
    outbound   INTEGER NOT NULL DEFAULT 0,      -- 1: its flow alone leads to it
    instance   TEXT,
    reg_id     INTEGER,
    user_agent TEXT,
    gruu       INTEGER,                         -- which temporary GRUUs are its own (RFC 5627)
    expires_at INTEGER NOT NULL,                -- microseconds since 1970
    PRIMARY KEY (aor, place)
) STRICT;

INSERT INTO bindings_by_place
    SELECT aor, CASE WHEN reg_id IS NULL THEN contact ELSE reg_id || ' ' || coalesce(instance, '') END,
           contact, transport, local, remote, path, call_id, cseq, q, 0, instance, reg_id, user_agent, NULL, max(expires_at)
    FROM bindings GROUP BY 1, 2;

DROP TABLE bindings;
ALTER TABLE bindings_by_place RENAME TO bindings;
