-- Who may make which name, and what was taken back.

-- The state of a target's packages: an index, no fact of its own. Its row is locked by whoever changes
-- the packages or depends on them as they are. changes: one more for each package that comes or goes;
-- withdrawn: what it was when a channel last lost or regained something that was published; shown: the
-- same as far as the channel was published with it.
CREATE TABLE pools (
    target    TEXT PRIMARY KEY,
    changes   BIGINT NOT NULL,
    withdrawn BIGINT NOT NULL,
    shown     BIGINT NOT NULL
);
INSERT INTO pools (target, changes, withdrawn, shown)
    SELECT target, COUNT(*), 0, 0 FROM packages GROUP BY target;

-- What a build makes that packages of other sources have: its packages wait for a person. owners is
-- JSON (rpmfarm_core::owners). The build is claimed as long as no decision has approved.
CREATE TABLE claims (
    build   BIGINT NOT NULL,
    kind    TEXT NOT NULL,
    what    TEXT NOT NULL,
    package TEXT NOT NULL,
    owners  TEXT NOT NULL,
    at_us   BIGINT NOT NULL,
    PRIMARY KEY (build, kind, what)
);

-- What a person said of the claims of a build: approved or refused.
CREATE TABLE claim_decisions (
    build  BIGINT NOT NULL,
    at_us  BIGINT NOT NULL,
    word   TEXT NOT NULL,
    who    TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (build, at_us)
);

-- Paths, and capabilities that many packages have, that builds of a target have required.
CREATE TABLE required_things (
    target TEXT NOT NULL,
    what   TEXT NOT NULL,
    PRIMARY KEY (target, what)
);

-- Packages that were taken back: rows of packages, moved here, and back when they are restored.
CREATE TABLE withdrawn_packages (
    target     TEXT NOT NULL,
    nevra      TEXT NOT NULL,
    build      BIGINT NOT NULL,
    task       BIGINT NOT NULL,
    arch       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size       BIGINT NOT NULL,
    repodata   TEXT NOT NULL,
    withdrawal BIGINT NOT NULL,
    PRIMARY KEY (target, nevra, digest)
);
CREATE INDEX withdrawn_packages_build ON withdrawn_packages (build);

-- Each taking back and giving back: withdraw or restore.
INSERT INTO counters (name, value) VALUES ('withdrawal', 0);
CREATE TABLE withdrawals (
    id     BIGINT NOT NULL,
    target TEXT NOT NULL,
    nevra  TEXT NOT NULL,
    build  BIGINT NOT NULL,
    word   TEXT NOT NULL,
    who    TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_us  BIGINT NOT NULL,
    PRIMARY KEY (id, target, nevra)
);
CREATE INDEX withdrawals_build ON withdrawals (build);

-- Packages that were restored and are not in their channel again yet: an index.
CREATE TABLE returning_packages (
    target TEXT NOT NULL,
    nevra  TEXT NOT NULL,
    build  BIGINT NOT NULL,
    change BIGINT NOT NULL,
    PRIMARY KEY (target, nevra)
);

-- Builds that were made with a package that was withdrawn; through is the build whose packages they
-- were made with, 0 for the package itself.
CREATE TABLE impacts (
    build   BIGINT NOT NULL,
    target  TEXT NOT NULL,
    nevra   TEXT NOT NULL,
    digest  TEXT NOT NULL,
    through BIGINT NOT NULL,
    PRIMARY KEY (build, digest)
);

-- What the newest root of a task took from the farm, and instead of what; JSON.
CREATE TABLE taken_packages (
    task  BIGINT PRIMARY KEY,
    taken TEXT NOT NULL
);
