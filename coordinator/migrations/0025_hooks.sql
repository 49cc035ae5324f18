-- A webhook is known again by its delivery and its body together: a forge may give several events
-- one name (GitLab those that follow from each other), and a branch that goes there and back is
-- told of with equal bodies.
CREATE TABLE new_hooks (
    target   TEXT NOT NULL,
    digest   TEXT NOT NULL,
    delivery TEXT NOT NULL,
    at_us    BIGINT NOT NULL,
    PRIMARY KEY (target, digest, delivery)
);
INSERT INTO new_hooks (target, digest, delivery, at_us)
    SELECT target, digest, delivery, at_us FROM hooks;
DROP TABLE hooks;
ALTER TABLE new_hooks RENAME TO hooks;
CREATE INDEX hooks_at ON hooks (at_us);

-- Which packages a repository was known to be of, by the number that its forge gives it: it stays
-- when the repository gets another name, under which nobody follows it.
CREATE TABLE hook_repositories (
    target     TEXT NOT NULL,
    repository TEXT NOT NULL,
    package    TEXT NOT NULL,
    modifies   BIGINT NOT NULL,
    PRIMARY KEY (target, repository, package, modifies)
);

-- What whoever looks at a build is to know of its sources, as which of several specs is built.
CREATE TABLE source_notes (
    build BIGINT NOT NULL,
    n     BIGINT NOT NULL,
    note  TEXT NOT NULL,
    PRIMARY KEY (build, n)
);
