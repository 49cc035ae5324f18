-- What changed for the order of batches. The order of an open batch is kept in memory and derived from
-- facts; these rows say of which builds facts are to be read again. They are an index: whoever loses them
-- reads the facts of the whole batch.

-- How many transactions changed facts of an open batch. The row is locked by each of them until it ends,
-- after all other rows, so that the numbers of a batch have no gaps and are in the order of commits.
-- batch is that of its builds and the key of no table. Removed when the batch has ended.
CREATE TABLE batch_heads (
    batch BIGINT PRIMARY KEY,
    seq   BIGINT NOT NULL
);

-- A build of which the order of its batch has to read the facts again, and with which number of the
-- batch they changed.
CREATE TABLE batch_events (
    batch BIGINT NOT NULL,
    seq   BIGINT NOT NULL,
    build BIGINT NOT NULL REFERENCES builds (id),
    PRIMARY KEY (batch, seq, build)
);

-- Batches that are open already: all of them are read.
INSERT INTO batch_heads (batch, seq)
SELECT DISTINCT b.batch, 0 FROM open_builds o JOIN builds b ON b.id = o.build;
