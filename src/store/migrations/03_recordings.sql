-- The index of recordings. Their sidecars are the truth: at each start it is made equal to them. Times are Unix milliseconds; `file` is
-- relative to the recording folder.
CREATE TABLE recordings (
    id         INTEGER PRIMARY KEY,
    file       TEXT    NOT NULL UNIQUE,
    line       TEXT    NOT NULL,
    caller     TEXT,
    started_ms INTEGER NOT NULL,
    ended_ms   INTEGER,
    end        TEXT    NOT NULL,
    -- What it takes on the disk, with all that lies beside it.
    disk_bytes INTEGER NOT NULL,
    poster     INTEGER NOT NULL,
    -- The whole of it, as in the sidecar.
    sidecar    TEXT    NOT NULL
) STRICT;
CREATE INDEX recordings_by_start ON recordings (started_ms, id);
CREATE INDEX recordings_by_line ON recordings (line, started_ms);
CREATE INDEX recordings_by_caller ON recordings (caller, started_ms);
