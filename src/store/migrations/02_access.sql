-- One-time keys that may call one line for a while. Their secret halves were shown once, to whoever made them, and are kept nowhere.
CREATE TABLE invitations (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    line       TEXT    NOT NULL,
    line_key   BLOB    NOT NULL,
    key        BLOB    NOT NULL UNIQUE,
    label      TEXT    NOT NULL,
    made_ms    INTEGER NOT NULL,
    until_ms   INTEGER NOT NULL,
    revoked_ms INTEGER,
    calls      INTEGER NOT NULL DEFAULT 0,
    called_ms  INTEGER
) STRICT;

-- The newest known contact list of each key that is asked for: whom it follows, 32 bytes each.
CREATE TABLE follow_lists (
    author     BLOB    PRIMARY KEY,
    event      BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    fetched_at INTEGER NOT NULL,
    followed   BLOB    NOT NULL
) STRICT;
