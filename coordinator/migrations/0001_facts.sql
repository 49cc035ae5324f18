-- The facts of the farm. One text for SQLite and PostgreSQL: only TEXT and BIGINT.
-- Times are microseconds since 1970 (…_us); digests are hex; lists are JSON.
-- Stages insert; nothing updates another stage's rows. The state of a build is derived.

-- Ids that a person can type: one sequence for each kind of thing.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('build', 0), ('batch', 0), ('task', 0), ('attempt', 0);

-- A request to rebuild one package for one target.
CREATE TABLE builds (
    id          BIGINT PRIMARY KEY,
    batch       BIGINT NOT NULL,
    target      TEXT NOT NULL,
    package     TEXT NOT NULL,
    git_ref     TEXT NOT NULL,
    submitter   TEXT NOT NULL,
    request_key TEXT NOT NULL,
    created_us  BIGINT NOT NULL
);
CREATE INDEX builds_batch ON builds (batch);
CREATE INDEX builds_package ON builds (target, package, id);
CREATE UNIQUE INDEX builds_request ON builds (request_key, target, package) WHERE request_key <> '';

-- Builds that have not ended: an index that the passes start from, no fact of its own.
CREATE TABLE open_builds (
    build BIGINT PRIMARY KEY
);

CREATE TABLE cancellations (
    build BIGINT NOT NULL,
    at_us BIGINT NOT NULL,
    PRIMARY KEY (build, at_us)
);

-- Failures and cancellations before the newest retry of a build do not count.
CREATE TABLE retries (
    build BIGINT NOT NULL,
    at_us BIGINT NOT NULL,
    PRIMARY KEY (build, at_us)
);

-- A stage that failed. retry_us is when it is tried again; 0 when it is not.
-- task is 0 when it failed before there was one.
CREATE TABLE failures (
    build    BIGINT NOT NULL,
    at_us    BIGINT NOT NULL,
    task     BIGINT NOT NULL,
    stage    TEXT NOT NULL,
    failure  TEXT NOT NULL,
    retry_us BIGINT NOT NULL,
    PRIMARY KEY (build, task, at_us)
);

-- The sources of a build.
CREATE TABLE imports (
    build     BIGINT PRIMARY KEY,
    url       TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    subject   TEXT NOT NULL,
    bundle    TEXT NOT NULL,
    at_us     BIGINT NOT NULL
);

-- Work for workers.
CREATE TABLE tasks (
    id         BIGINT PRIMARY KEY,
    build      BIGINT NOT NULL,
    kind       TEXT NOT NULL,
    arch       TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    UNIQUE (build, kind, arch)
);

-- The root of a task; a further round extends it by what %generate_buildrequires found.
CREATE TABLE locks (
    task     BIGINT NOT NULL,
    round    BIGINT NOT NULL,
    digest   TEXT NOT NULL,
    at_us    BIGINT NOT NULL,
    PRIMARY KEY (task, round)
);

CREATE TABLE dynamic_requires (
    task     BIGINT NOT NULL,
    round    BIGINT NOT NULL,
    attempt  BIGINT NOT NULL,
    requires TEXT NOT NULL,
    at_us    BIGINT NOT NULL,
    PRIMARY KEY (task, round)
);

-- A try of a task by a worker. The epoch is the fence: one more for each try of the task.
CREATE TABLE attempts (
    id         BIGINT PRIMARY KEY,
    task       BIGINT NOT NULL,
    epoch      BIGINT NOT NULL,
    worker     TEXT NOT NULL,
    started_us BIGINT NOT NULL,
    UNIQUE (task, epoch)
);
CREATE INDEX attempts_worker ON attempts (worker, id);

-- Attempts that a worker holds: an index, no fact of its own.
CREATE TABLE live_attempts (
    task    BIGINT PRIMARY KEY,
    attempt BIGINT NOT NULL,
    worker  TEXT NOT NULL
);
CREATE INDEX live_attempts_worker ON live_attempts (worker);

-- How an attempt ended: succeeded, failed or cancelled, with the report as JSON.
CREATE TABLE attempt_ends (
    attempt BIGINT PRIMARY KEY,
    outcome TEXT NOT NULL,
    report  TEXT NOT NULL,
    at_us   BIGINT NOT NULL
);

-- The one attempt of a task whose results count.
CREATE TABLE acceptances (
    task        BIGINT PRIMARY KEY,
    attempt     BIGINT NOT NULL,
    rpmbuild_ms BIGINT NOT NULL,
    at_us       BIGINT NOT NULL
);

-- The source package of a build, as its header says.
CREATE TABLE srpms (
    build     BIGINT PRIMARY KEY,
    digest    TEXT NOT NULL,
    size      BIGINT NOT NULL,
    nevra     TEXT NOT NULL,
    requires  TEXT NOT NULL,
    conflicts TEXT NOT NULL,
    predicts  TEXT NOT NULL,
    dynamic   BIGINT NOT NULL
);

-- Accepted packages, source and binary. One NEVRA in one target has one digest.
CREATE TABLE packages (
    target    TEXT NOT NULL,
    nevra     TEXT NOT NULL,
    build     BIGINT NOT NULL,
    task      BIGINT NOT NULL,
    arch      TEXT NOT NULL,
    digest    TEXT NOT NULL,
    size      BIGINT NOT NULL,
    repodata  TEXT NOT NULL,
    PRIMARY KEY (target, nevra)
);
CREATE INDEX packages_build ON packages (build);

-- The signed form of an accepted package.
CREATE TABLE signatures (
    digest        TEXT NOT NULL,
    key_name      TEXT NOT NULL,
    signed_digest TEXT NOT NULL,
    signed_size   BIGINT NOT NULL,
    repodata      TEXT NOT NULL,
    at_us         BIGINT NOT NULL,
    PRIMARY KEY (digest, key_name)
);

-- What a channel holds, revision by revision. A revision only goes forward.
CREATE TABLE revisions (
    target   TEXT NOT NULL,
    channel  TEXT NOT NULL,
    revision BIGINT NOT NULL,
    snapshot TEXT NOT NULL,
    packages BIGINT NOT NULL,
    at_us    BIGINT NOT NULL,
    PRIMARY KEY (target, channel, revision)
);

-- The revision of a channel that first holds a build.
CREATE TABLE publications (
    build    BIGINT NOT NULL,
    target   TEXT NOT NULL,
    channel  TEXT NOT NULL,
    revision BIGINT NOT NULL,
    at_us    BIGINT NOT NULL,
    PRIMARY KEY (build, channel)
);
