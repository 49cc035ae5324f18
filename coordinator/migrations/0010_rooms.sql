-- What the worker of an attempt had when it got it, in MiB; 0 when that is not known. What is
-- learned of a package never asks for more than a worker that has built it had.
ALTER TABLE attempts ADD COLUMN memory_mib BIGINT NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN disk_mib BIGINT NOT NULL DEFAULT 0;
ALTER TABLE measures ADD COLUMN had_memory_mib BIGINT NOT NULL DEFAULT 0;
ALTER TABLE measures ADD COLUMN had_disk_mib BIGINT NOT NULL DEFAULT 0;
ALTER TABLE learned ADD COLUMN enough_memory_mib BIGINT NOT NULL DEFAULT 0;
ALTER TABLE learned ADD COLUMN enough_disk_mib BIGINT NOT NULL DEFAULT 0;
