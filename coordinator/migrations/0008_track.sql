-- Following upstream: who is followed, what was pushed, and what became of it.

INSERT INTO counters (name, value) VALUES ('push', 0), ('storm', 0);

-- What maintainers have said: add, remove, default, automatic, propose, hold, freeze.
-- An empty package stands for the whole target.
CREATE TABLE track_orders (
    id       BIGINT PRIMARY KEY,
    target   TEXT NOT NULL,
    package  TEXT NOT NULL,
    word     TEXT NOT NULL,
    reason   TEXT NOT NULL,
    until_us BIGINT NOT NULL,
    who      TEXT NOT NULL,
    at_us    BIGINT NOT NULL
);
CREATE INDEX track_orders_package ON track_orders (target, package, id);
INSERT INTO counters (name, value) VALUES ('track_order', 0);

-- The packages that are followed, and when each is looked at next: an index over orders and
-- looks, no fact of its own. due_us 0 is "at once". hint_us is when a webhook told of hint_commit.
-- ref is empty for the target's own.
CREATE TABLE tracked (
    target      TEXT NOT NULL,
    package     TEXT NOT NULL,
    git_ref     TEXT NOT NULL,
    build_first BIGINT NOT NULL,
    added_us    BIGINT NOT NULL,
    due_us      BIGINT NOT NULL,
    interval_us BIGINT NOT NULL,
    looked_us   BIGINT NOT NULL,
    looks       BIGINT NOT NULL,
    failures    BIGINT NOT NULL,
    problem     TEXT NOT NULL,
    hint_us     BIGINT NOT NULL,
    hint_commit TEXT NOT NULL,
    PRIMARY KEY (target, package)
);
CREATE INDEX tracked_due ON tracked (target, due_us);

-- The commit that a branch was last seen to point to.
CREATE TABLE track_refs (
    target     TEXT NOT NULL,
    package    TEXT NOT NULL,
    repository TEXT NOT NULL,
    branch     TEXT NOT NULL,
    commit_id  TEXT NOT NULL,
    at_us      BIGINT NOT NULL,
    PRIMARY KEY (target, package, repository, branch)
);

-- A branch that was seen to point to another commit. The same push is recorded once, whoever
-- told of it.
CREATE TABLE pushes (
    id         BIGINT PRIMARY KEY,
    target     TEXT NOT NULL,
    package    TEXT NOT NULL,
    repository TEXT NOT NULL,
    branch     TEXT NOT NULL,
    commit_id  TEXT NOT NULL,
    before_id  TEXT NOT NULL,
    told_by    TEXT NOT NULL,
    seen_us    BIGINT NOT NULL,
    UNIQUE (target, package, repository, branch, commit_id)
);

-- Pushes of which nothing has become yet: an index.
CREATE TABLE open_pushes (
    push BIGINT PRIMARY KEY
);

-- What became of a push: build (by the request of that key), done (by that build, which had its
-- commit already), superseded, removed.
CREATE TABLE push_ends (
    push        BIGINT PRIMARY KEY,
    verdict     TEXT NOT NULL,
    request_key TEXT NOT NULL,
    build       BIGINT NOT NULL,
    at_us       BIGINT NOT NULL
);
CREATE INDEX push_ends_key ON push_ends (request_key);
CREATE INDEX push_ends_at ON push_ends (at_us);

-- Requests for builds that are decided on and not made yet: an index.
CREATE TABLE push_requests (
    request_key TEXT PRIMARY KEY
);

CREATE TABLE push_approvals (
    push  BIGINT PRIMARY KEY,
    who   TEXT NOT NULL,
    at_us BIGINT NOT NULL
);

-- Too many builds at once, and the pushes that it holds.
CREATE TABLE storms (
    id     BIGINT PRIMARY KEY,
    target TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_us  BIGINT NOT NULL
);
CREATE TABLE storm_pushes (
    push  BIGINT PRIMARY KEY,
    storm BIGINT NOT NULL
);
CREATE INDEX storm_pushes_storm ON storm_pushes (storm);

-- Webhooks that were taken; kept for a time, to know those that are sent again.
CREATE TABLE hooks (
    target   TEXT NOT NULL,
    digest   TEXT NOT NULL,
    delivery TEXT NOT NULL,
    at_us    BIGINT NOT NULL,
    PRIMARY KEY (target, digest)
);
CREATE UNIQUE INDEX hooks_delivery ON hooks (target, delivery) WHERE delivery <> '';
CREATE INDEX hooks_at ON hooks (at_us);

-- The CVE ids that a build's sources fix, as a JSON list. A build without a row was not looked at.
CREATE TABLE build_cves (
    build BIGINT PRIMARY KEY,
    ids   TEXT NOT NULL,
    at_us BIGINT NOT NULL
);
