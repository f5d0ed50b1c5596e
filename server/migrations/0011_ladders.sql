-- SIP messages of calls, redacted, kept on request ([trace] keep).
CREATE TABLE ladder (
    call       TEXT PRIMARY KEY,
    started_at INTEGER NOT NULL,
    dropped    INTEGER NOT NULL,                -- messages the call had beyond its bound
    rungs      TEXT NOT NULL                    -- the messages as JSON
) STRICT;
CREATE INDEX ladder_by_start ON ladder (started_at);
