-- Following modifications: pushes to them, and the pairs of commits that are built.

-- Not 0 for a push to a package's modifications.
ALTER TABLE pushes ADD COLUMN modifies BIGINT NOT NULL DEFAULT 0;

-- The commit of the modifications that a webhook told of.
ALTER TABLE tracked ADD COLUMN hint_modification TEXT NOT NULL DEFAULT '';

-- What is built because of a push: the package's commit or tag, and the commit of its
-- modifications; empty for none, or for the target's own.
CREATE TABLE push_pairs (
    push         BIGINT PRIMARY KEY,
    git_ref      TEXT NOT NULL,
    modification TEXT NOT NULL
);

-- Builds that are for one commit of the modifications, and not for what their branch has.
CREATE TABLE build_modifications (
    build   BIGINT PRIMARY KEY,
    git_ref TEXT NOT NULL
);
