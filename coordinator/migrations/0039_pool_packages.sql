-- What the solver's pools have of the farm's packages: the present, where `packages` is the history.
--
-- These tables are an index over packages, builds and publications. Which build is the newest is said by
-- rpm's comparison of versions, which no database knows: so they are filled by the coordinator, from all
-- accepted packages of a target, when it first needs its pool. It does the same whenever `seen` is not
-- `pools.changes`: then a coordinator that does not know these tables has changed the packages.

-- A package of the pools. It has a row for each build that made it, the same package as another one
-- before or not. source is the name under which the build was requested; superseded is 1 when the build
-- alone would not keep it any more.
CREATE TABLE pool_packages (
    target     TEXT   NOT NULL,
    nevra      TEXT   NOT NULL,
    build      BIGINT NOT NULL REFERENCES builds (id),
    source     TEXT   NOT NULL,
    superseded BIGINT NOT NULL,
    PRIMARY KEY (target, nevra, build)
);
CREATE INDEX pool_packages_build ON pool_packages (build);
CREATE INDEX pool_packages_source ON pool_packages (target, source);
CREATE INDEX pool_packages_superseded ON pool_packages (target) WHERE superseded = 1;

-- The log: the name of a package that came into the pools or left them, with the version of the pools
-- in which it did. Which of the two is said by pool_packages. Old rows are removed.
CREATE TABLE pool_changes (
    target  TEXT   NOT NULL,
    version BIGINT NOT NULL,
    nevra   TEXT   NOT NULL,
    PRIMARY KEY (target, version, nevra)
);

-- Packages that a lock of an open batch names: they stay in the pools until the batch has ended.
CREATE TABLE pool_holds (
    target TEXT   NOT NULL,
    batch  BIGINT NOT NULL,
    nevra  TEXT   NOT NULL,
    PRIMARY KEY (target, batch, nevra)
);
CREATE INDEX pool_holds_nevra ON pool_holds (target, nevra);

-- The version of a target's pools: one more for each transaction that may change them. since is the
-- version from which on the log is whole; seen is the value of pools.changes that the pools belong to.
CREATE TABLE pool_states (
    target  TEXT   PRIMARY KEY,
    version BIGINT NOT NULL,
    since   BIGINT NOT NULL,
    seen    BIGINT NOT NULL
);
