-- What channels hold, as rows: a revision is the packages that came with it or before and had not gone by
-- then. Until now each revision was a blob with all of its packages. It still is one now and then, and is
-- for all revisions of before: the rows of a channel begin with the first revision that is recorded after
-- this, and a coordinator reads the blob until then.

-- A package of a channel from the revision since_revision on, until until_revision is shown without it; 0
-- while it is there. One that was signed anew, or is kept from another architecture, is another row.
-- excluded is JSON (rpmfarm_core::snapshot::ExcludedArches), empty for none.
CREATE TABLE channel_packages (
    target         TEXT   NOT NULL,
    channel        TEXT   NOT NULL,
    nevra          TEXT   NOT NULL,
    since_revision BIGINT NOT NULL,
    until_revision BIGINT NOT NULL,
    digest         TEXT   NOT NULL,
    source         TEXT   NOT NULL,
    excluded       TEXT   NOT NULL,
    PRIMARY KEY (target, channel, nevra, since_revision)
);
CREATE INDEX channel_packages_until ON channel_packages (target, channel, until_revision);

-- The revision that the rows of a channel stand for. A coordinator of the version before records revisions
-- without rows: then the newest revision is above this one, and its packages are in its blob.
CREATE TABLE channel_heads (
    target   TEXT   NOT NULL,
    channel  TEXT   NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (target, channel),
    FOREIGN KEY (target, channel, revision) REFERENCES revisions (target, channel, revision)
);

-- A blob that was read to its end and proved, with what its file was like then: as long as it is like that,
-- and the proof is not old, publishing does not read it again. The newest proof replaces the one before.
CREATE TABLE blob_proofs (
    digest   TEXT   PRIMARY KEY,
    inode    BIGINT NOT NULL,
    size     BIGINT NOT NULL,
    mtime_ns BIGINT NOT NULL,
    at_us    BIGINT NOT NULL
);
