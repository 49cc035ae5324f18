-- What the proof of a channel's next content found, and what persons accepted of it.

-- A proof: the content by the digest of its packages as JSON, how long it took, and the problems that the
-- content before did not have (rpmfarm_core::proof::Problem), a bounded number of them; `total` is how many
-- there were. `unproven` is why the closure could not be looked at, empty when it was. The publish stage
-- adds rows; the newest of a channel says where it stands.
CREATE TABLE proofs (
    target   TEXT NOT NULL,
    channel  TEXT NOT NULL,
    at_us    BIGINT NOT NULL,
    content  TEXT NOT NULL,
    took_us  BIGINT NOT NULL,
    total    BIGINT NOT NULL,
    problems TEXT NOT NULL,
    unproven TEXT NOT NULL,
    PRIMARY KEY (target, channel, at_us)
);

-- A problem that a person accepted: of which package, by its name without version, and about what, empty for
-- any of this kind. `until_us` is 0 for ever. The API adds rows; accepting again does so, too.
CREATE TABLE accepted_problems (
    target   TEXT NOT NULL,
    channel  TEXT NOT NULL,
    at_us    BIGINT NOT NULL,
    kind     TEXT NOT NULL,
    package  TEXT NOT NULL,
    what     TEXT NOT NULL,
    until_us BIGINT NOT NULL,
    who      TEXT NOT NULL,
    reason   TEXT NOT NULL,
    PRIMARY KEY (target, channel, at_us, kind, package, what)
);
