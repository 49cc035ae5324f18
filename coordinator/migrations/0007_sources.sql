-- What a build was made of beside the dist-git commit: the modifications, and where each file came
-- from. The pair (imports.commit_id, source_records.modification) is the identity of the sources.
CREATE TABLE source_records (
    build        BIGINT PRIMARY KEY,
    -- Full commit id of the modifications; empty when there are none.
    modification TEXT NOT NULL,
    -- The whole record, as JSON.
    record       TEXT NOT NULL
);

-- Builds whose release is raised: rebuilds without a change.
CREATE TABLE bumps (
    build BIGINT PRIMARY KEY
);
