-- How builds ended, and in which target: an index over publications, cancellations and failures, so that a list
-- of builds in a state does not read all builds. Written by the transaction that ends a build, and removed by the
-- one that opens it again. A coordinator of the version before writes none: `Store::open` adds what is missing
-- when the counts say so.
CREATE TABLE build_ends (
    build  BIGINT PRIMARY KEY,
    target TEXT NOT NULL,
    state  TEXT NOT NULL
);
INSERT INTO build_ends (build, target, state)
SELECT b.id, b.target, CASE
    WHEN EXISTS (SELECT 1 FROM publications p WHERE p.build = b.id) THEN 'published'
    WHEN (SELECT COALESCE(MAX(c.at_us), 0) FROM cancellations c WHERE c.build = b.id)
         > (SELECT COALESCE(MAX(r.at_us), 0) FROM retries r WHERE r.build = b.id) THEN 'cancelled'
    ELSE 'failed' END
FROM builds b WHERE NOT EXISTS (SELECT 1 FROM open_builds o WHERE o.build = b.id);
CREATE INDEX build_ends_state ON build_ends (state, build);
CREATE INDEX build_ends_target ON build_ends (target, state, build);

-- How many builds ended in each way, for metrics.
INSERT INTO counters (name, value)
SELECT 'ended_published', COUNT(*) FROM build_ends WHERE state = 'published';
INSERT INTO counters (name, value)
SELECT 'ended_cancelled', COUNT(*) FROM build_ends WHERE state = 'cancelled';
INSERT INTO counters (name, value)
SELECT 'ended_failed', COUNT(*) FROM build_ends WHERE state = 'failed';

-- The newest builds of a package, in whatever target.
CREATE INDEX builds_name ON builds (package, id);
