-- Times of calls are Unix milliseconds; those of Nostr are Unix seconds. Keys and event ids are their 32 bytes.

CREATE TABLE calls (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    line            TEXT    NOT NULL,
    line_key        BLOB    NOT NULL,
    caller          BLOB    NOT NULL,
    session_id      TEXT    NOT NULL,
    call_type       TEXT    NOT NULL,
    direction       TEXT    NOT NULL,
    offered_ms      INTEGER NOT NULL,
    source_ready_ms INTEGER,
    answered_ms     INTEGER,
    secured_ms      INTEGER,
    first_media_ms  INTEGER,
    ended_ms        INTEGER,
    reason          TEXT    NOT NULL,
    origin          TEXT    NOT NULL,
    detail          TEXT    NOT NULL,
    teardown_ms     INTEGER,
    bytes_sent      INTEGER NOT NULL,
    bytes_received  INTEGER NOT NULL,
    frames_skipped  INTEGER NOT NULL,
    ignored         INTEGER NOT NULL
) STRICT;
CREATE INDEX calls_by_line ON calls (line, id);
CREATE INDEX calls_by_caller ON calls (caller, id);

-- Events that were acted on: a second sight of one is a replay, also after a restart.
CREATE TABLE handled_events (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    event    BLOB    NOT NULL UNIQUE,
    seen_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX handled_by_age ON handled_events (seen_at);

-- The newest created_at that an author has used on a relay: replaceable kinds need a newer one each time, also after a restart.
CREATE TABLE outbox_clocks (
    author     BLOB    NOT NULL,
    kind       INTEGER NOT NULL,
    relay      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (author, kind, relay)
) STRICT, WITHOUT ROWID;
