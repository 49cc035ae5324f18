-- Members of a batch exchange their places in a queue (core::batch::exchange), and tasks of SRPMs have
-- queues of their own.

-- How long it is from the start of a task to the end of all that needs it in its batch, when it was
-- locked: of its batch, the longest goes first. No row for a task that no batch has put in order.
CREATE TABLE task_urgencies (
    task       BIGINT PRIMARY KEY REFERENCES tasks (id),
    urgency_us BIGINT NOT NULL
);

-- The batch of its build, 0 when the build is alone in it; its urgency; whether it makes an SRPM. What a
-- coordinator of the version before writes has none of it: it keeps its place, and waits among builds.
ALTER TABLE ready_tasks ADD COLUMN batch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE ready_tasks ADD COLUMN urgency_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE ready_tasks ADD COLUMN srpm BIGINT NOT NULL DEFAULT 0;
UPDATE ready_tasks SET srpm = 1 WHERE task IN (SELECT id FROM tasks WHERE kind = 'srpm');
UPDATE ready_tasks SET batch = COALESCE(
    (SELECT b.batch FROM builds b WHERE b.id = ready_tasks.build
     AND EXISTS (SELECT 1 FROM builds o WHERE o.batch = b.batch AND o.id <> b.id)), 0);

DROP INDEX ready_tasks_queue;
CREATE INDEX ready_tasks_queue ON ready_tasks (arch, needs, srpm, rank, task);
-- The most urgent of a batch.
CREATE INDEX ready_tasks_urgency
ON ready_tasks (arch, needs, srpm, batch, class, urgency_us DESC, rank, task);

-- A queue for SRPMs beside that for builds of the same needs.
CREATE TABLE new_ready_queues (
    arch  TEXT NOT NULL,
    needs TEXT NOT NULL,
    srpm  BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (arch, needs, srpm)
);
INSERT INTO new_ready_queues (arch, needs, srpm) SELECT arch, needs, 0 FROM ready_queues;
INSERT INTO new_ready_queues (arch, needs, srpm)
SELECT DISTINCT arch, needs, 1 FROM ready_tasks WHERE srpm = 1;
DROP TABLE ready_queues;
ALTER TABLE new_ready_queues RENAME TO ready_queues;
