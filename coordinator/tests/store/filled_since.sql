-- Rows of the tables that have come since those of filled.sql, of the same farm.

INSERT INTO batches (id, order_mode, paused_us, submitter, at_us)
SELECT DISTINCT batch, 'requires', CASE WHEN batch % 20 = 0 THEN 1 ELSE 0 END, 'ann', 1 FROM builds;
