-- Version 1 of a run's store. Later versions are steps in store/database.py; this file is never edited again.
-- Times are seconds since 1970 (UTC). A score that is not a number is stored as NULL.

CREATE TABLE run (                      -- what the run is: format, created, experiment
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE environments (             -- where it ran: one row each time it was opened for writing
    id INTEGER PRIMARY KEY,
    opened REAL NOT NULL,
    fingerprint TEXT NOT NULL           -- JSON object
);

CREATE TABLE trials (
    number INTEGER PRIMARY KEY CHECK (number >= 0),
    key TEXT NOT NULL,                  -- equal for cells that compute the same
    genome TEXT NOT NULL,               -- JSON form
    origin TEXT NOT NULL,
    attempt INTEGER NOT NULL,           -- which attempt of the strategy gave this proposal; the ones before were duplicates
    seed INTEGER NOT NULL,              -- random seed of its training
    inherit INTEGER REFERENCES trials (number), -- whose weights the strategy wanted it to start from
    status TEXT NOT NULL CHECK (status IN ('waiting', 'running', 'completed', 'stopped', 'failed', 'duplicate')),
    failure_kind TEXT,
    failure_message TEXT,
    duplicate_of INTEGER REFERENCES trials (number),
    created REAL NOT NULL,
    CHECK ((status = 'duplicate') = (duplicate_of IS NOT NULL)),
    CHECK ((status = 'failed') = (failure_kind IS NOT NULL))
);

-- The law that no cell is trained twice, kept by the database itself.
CREATE UNIQUE INDEX trials_key ON trials (key) WHERE status <> 'duplicate';

CREATE TABLE parents (                  -- lineage
    trial INTEGER NOT NULL REFERENCES trials (number),
    position INTEGER NOT NULL,
    parent INTEGER NOT NULL REFERENCES trials (number),
    PRIMARY KEY (trial, position)
) WITHOUT ROWID;

CREATE TABLE decisions (                -- the order in which the search decided what to do; see search/decisions.py
    position INTEGER PRIMARY KEY,
    trial INTEGER NOT NULL REFERENCES trials (number),
    rung INTEGER NOT NULL,
    horizon INTEGER NOT NULL,           -- results of decisions before this one were taken into account
    UNIQUE (trial, rung)
);

CREATE TABLE rungs (                    -- one row a granted budget: a job
    trial INTEGER NOT NULL REFERENCES trials (number),
    rung INTEGER NOT NULL,
    granted INTEGER NOT NULL,           -- optimizer steps in total
    inherit TEXT NOT NULL,              -- checkpoint that it starts from, '' for none
    started REAL,
    ended REAL,                         -- not NULL exactly when the job has an outcome, which is final
    wall_seconds REAL,
    worker TEXT,
    score REAL,
    metric REAL,
    steps INTEGER,
    seconds REAL,
    parameters INTEGER,
    cell_parameters INTEGER,
    checkpoint TEXT,                    -- NULL exactly when there is no result
    PRIMARY KEY (trial, rung)
) WITHOUT ROWID;

CREATE TABLE curves (
    trial INTEGER NOT NULL,
    rung INTEGER NOT NULL,
    position INTEGER NOT NULL,
    step INTEGER NOT NULL,
    score REAL,
    PRIMARY KEY (trial, rung, position),
    FOREIGN KEY (trial, rung) REFERENCES rungs (trial, rung)
) WITHOUT ROWID;

CREATE TABLE metrics (
    trial INTEGER NOT NULL,
    rung INTEGER NOT NULL,
    name TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (trial, rung, name),
    FOREIGN KEY (trial, rung) REFERENCES rungs (trial, rung)
) WITHOUT ROWID;

CREATE TABLE connections (
    trial INTEGER NOT NULL,
    rung INTEGER NOT NULL,
    name TEXT NOT NULL,
    gate REAL,
    saliency REAL,
    PRIMARY KEY (trial, rung, name),
    FOREIGN KEY (trial, rung) REFERENCES rungs (trial, rung)
) WITHOUT ROWID;

CREATE TABLE duplicates (               -- proposals that were answered instead of trained
    trial INTEGER NOT NULL REFERENCES trials (number),
    attempt INTEGER NOT NULL,
    duplicate_of INTEGER NOT NULL REFERENCES trials (number),
    PRIMARY KEY (trial, attempt)
) WITHOUT ROWID;

CREATE TABLE events (                   -- what happened to the run: opened, stopped, a worker lost
    id INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL
);
