-- Several coordinators on one database: who lives, who runs which stage, who hears which worker,
-- and what each tells the others of its memory.

-- A coordinator. It raises its beat while it lives; others watch it on their own clocks.
CREATE TABLE coordinators (
    id         TEXT PRIMARY KEY,
    address    TEXT NOT NULL,
    base_url   TEXT NOT NULL,
    version    TEXT NOT NULL,
    started_us BIGINT NOT NULL,
    beat       BIGINT NOT NULL
);

-- Which coordinator runs a stage. The epoch is the fence: one more for each change of the holder,
-- checked in each transaction of the stage.
CREATE TABLE stage_leases (
    stage  TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    epoch  BIGINT NOT NULL
);

-- Which coordinator a worker is connected to; it alone judges the worker's silence. Written when
-- the worker connects, not with each heartbeat.
CREATE TABLE worker_owners (
    worker      TEXT PRIMARY KEY,
    coordinator TEXT NOT NULL,
    session     BIGINT NOT NULL
);

-- What a coordinator knows and others show: states of its workers, reasons why builds wait.
-- No fact: gone with the coordinator.
CREATE TABLE notes (
    coordinator TEXT NOT NULL,
    kind        TEXT NOT NULL,
    subject     TEXT NOT NULL,
    text        TEXT NOT NULL,
    PRIMARY KEY (kind, subject, coordinator)
);
