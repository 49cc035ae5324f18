-- A branch may come back to a commit that it has left: that is another push of the same commit. What
-- is new is told by comparing with track_refs, so pushes have no key but their number. The table is
-- made anew, since SQLite cannot take a constraint away.

CREATE TABLE all_pushes (
    id         BIGINT PRIMARY KEY,
    target     TEXT NOT NULL,
    package    TEXT NOT NULL,
    repository TEXT NOT NULL,
    branch     TEXT NOT NULL,
    commit_id  TEXT NOT NULL,
    before_id  TEXT NOT NULL,
    told_by    TEXT NOT NULL,
    seen_us    BIGINT NOT NULL,
    modifies   BIGINT NOT NULL DEFAULT 0
);
INSERT INTO all_pushes (id, target, package, repository, branch, commit_id, before_id, told_by,
    seen_us, modifies)
SELECT id, target, package, repository, branch, commit_id, before_id, told_by, seen_us, modifies
FROM pushes;
DROP TABLE pushes;
ALTER TABLE all_pushes RENAME TO pushes;

CREATE INDEX pushes_package ON pushes (target, package, id);
