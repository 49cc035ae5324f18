-- The builds of one request together: which needs put them in order (requires, bootstrap, none),
-- and since when nothing more of them begins (paused_us, 0 while they go on). Only a pause and a
-- resumption change a row. There is one for each request for several builds; a request for one, and
-- one that a coordinator of an earlier version took, gets its row when it is first paused.
CREATE TABLE batches (
    id         BIGINT PRIMARY KEY,
    order_mode TEXT NOT NULL,
    paused_us  BIGINT NOT NULL,
    submitter  TEXT NOT NULL,
    at_us      BIGINT NOT NULL
);

-- What was asked for before went by the one order that there was.
INSERT INTO batches (id, order_mode, paused_us, submitter, at_us)
SELECT batch, 'requires', 0, MIN(submitter), MIN(created_us) FROM builds GROUP BY batch HAVING COUNT(*) > 1;
