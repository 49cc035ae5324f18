-- Priorities, and indexes over facts that let every pass read its own work and no more, however
-- much is open. The indexes are kept in the transaction that adds the fact (store/work.rs).

-- How urgent a build was asked for: security, interactive, tracking or mass.
ALTER TABLE builds ADD COLUMN priority TEXT NOT NULL DEFAULT 'interactive';

-- Somebody made it another class. The newest counts.
CREATE TABLE priority_changes (
    build    BIGINT NOT NULL,
    at_us    BIGINT NOT NULL,
    priority TEXT NOT NULL,
    PRIMARY KEY (build, at_us)
);

-- The place that a task got in the queue of its architecture, the first time it was ready.
CREATE TABLE task_ranks (
    task  BIGINT PRIMARY KEY,
    class TEXT NOT NULL,
    rank  BIGINT NOT NULL
);

-- The lines of a queue: when the last task of a class and submitter has had its share, in virtual
-- time. The row without class and submitter is the queue's lead over the wall clock.
CREATE TABLE queue_lines (
    arch      TEXT NOT NULL,
    class     TEXT NOT NULL,
    submitter TEXT NOT NULL,
    value     BIGINT NOT NULL,
    PRIMARY KEY (arch, class, submitter)
);

-- What a task needs beyond a slot, as text that names it; no row when nothing.
CREATE TABLE task_needs (
    task  BIGINT PRIMARY KEY,
    needs TEXT NOT NULL
);

-- Tasks that wait for a worker: an index. The head of each queue is read, never the rest.
CREATE TABLE ready_tasks (
    task  BIGINT PRIMARY KEY,
    build BIGINT NOT NULL,
    arch  TEXT NOT NULL,
    needs TEXT NOT NULL,
    class TEXT NOT NULL,
    rank  BIGINT NOT NULL
);
CREATE INDEX ready_tasks_queue ON ready_tasks (arch, needs, rank, task);
CREATE INDEX ready_tasks_build ON ready_tasks (build);

-- The needs that tasks of an architecture ever had, so that each queue's head is found.
CREATE TABLE ready_queues (
    arch  TEXT NOT NULL,
    needs TEXT NOT NULL,
    PRIMARY KEY (arch, needs)
);

-- What each stage has to do: an index. task is 0 where the stage works on whole builds; due_us is
-- when a stage that failed may look again.
CREATE TABLE stage_work (
    build  BIGINT NOT NULL,
    stage  TEXT NOT NULL,
    task   BIGINT NOT NULL,
    rank   BIGINT NOT NULL,
    due_us BIGINT NOT NULL,
    PRIMARY KEY (build, stage, task)
);
CREATE INDEX stage_work_stage ON stage_work (stage, rank, build, task, due_us);

-- What is open already. A task of an older farm stands where it was made.
INSERT INTO stage_work (build, stage, task, rank, due_us)
SELECT b.id, 'import', 0, b.created_us,
       COALESCE((SELECT MAX(f.retry_us) FROM failures f
                 WHERE f.build = b.id AND f.stage = 'import'), 0)
FROM builds b WHERE b.id IN (SELECT build FROM open_builds)
AND NOT EXISTS (SELECT 1 FROM imports i WHERE i.build = b.id);

INSERT INTO stage_work (build, stage, task, rank, due_us)
SELECT b.id, 'plan', 0, b.created_us, 0
FROM builds b WHERE b.id IN (SELECT build FROM open_builds)
AND EXISTS (SELECT 1 FROM imports i WHERE i.build = b.id)
AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.build = b.id);

INSERT INTO stage_work (build, stage, task, rank, due_us)
SELECT t.build, CASE WHEN t.kind = 'srpm' THEN 'lock' ELSE 'order' END, t.id, b.created_us,
       COALESCE((SELECT MAX(f.retry_us) FROM failures f
                 WHERE f.build = t.build AND f.task = t.id), 0)
FROM tasks t JOIN builds b ON b.id = t.build
WHERE t.build IN (SELECT build FROM open_builds)
AND NOT EXISTS (SELECT 1 FROM locks l WHERE l.task = t.id);

INSERT INTO stage_work (build, stage, task, rank, due_us)
SELECT t.build, 'accept', t.id, b.created_us,
       COALESCE((SELECT MAX(f.retry_us) FROM failures f
                 WHERE f.build = t.build AND f.task = t.id), 0)
FROM tasks t JOIN builds b ON b.id = t.build
WHERE t.build IN (SELECT build FROM open_builds)
AND NOT EXISTS (SELECT 1 FROM acceptances c WHERE c.task = t.id)
AND EXISTS (SELECT 1 FROM attempts a JOIN attempt_ends e ON e.attempt = a.id
            WHERE a.task = t.id AND e.outcome = 'succeeded');

INSERT INTO stage_work (build, stage, task, rank, due_us)
SELECT b.id, 'finish', 0, b.created_us, 0
FROM builds b WHERE b.id IN (SELECT build FROM open_builds)
AND EXISTS (SELECT 1 FROM tasks t WHERE t.build = b.id AND t.kind = 'build')
AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.build = b.id
                AND NOT EXISTS (SELECT 1 FROM acceptances a WHERE a.task = t.id));

-- Ready at their time: the first look of dispatch takes them from here into their queues.
INSERT INTO stage_work (build, stage, task, rank, due_us)
SELECT t.build, 'dispatch', t.id, b.created_us,
       COALESCE((SELECT MAX(f.retry_us) FROM failures f
                 WHERE f.build = t.build AND f.task = t.id), 0)
FROM tasks t JOIN builds b ON b.id = t.build
WHERE t.build IN (SELECT build FROM open_builds)
AND EXISTS (SELECT 1 FROM locks l WHERE l.task = t.id)
AND NOT EXISTS (SELECT 1 FROM acceptances a WHERE a.task = t.id)
AND NOT EXISTS (SELECT 1 FROM live_attempts v WHERE v.task = t.id)
AND NOT EXISTS (SELECT 1 FROM attempts p JOIN attempt_ends e ON e.attempt = p.id
                WHERE p.task = t.id AND e.outcome = 'succeeded');

INSERT INTO stage_work (build, stage, task, rank, due_us)
SELECT t.build, 'round', t.id, b.created_us, 0
FROM live_attempts v JOIN tasks t ON t.id = v.task JOIN builds b ON b.id = t.build
WHERE EXISTS (SELECT 1 FROM dynamic_requires d WHERE d.task = t.id AND d.attempt = v.attempt
              AND NOT EXISTS (SELECT 1 FROM locks l WHERE l.task = d.task AND l.round > d.round));

-- What accepted attempts took: microseconds from grant to report, and MiB at most; 0 where it was
-- not measured.
CREATE TABLE measures (
    target     TEXT NOT NULL,
    package    TEXT NOT NULL,
    arch       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    attempt    BIGINT NOT NULL,
    took_us    BIGINT NOT NULL,
    memory_mib BIGINT NOT NULL,
    disk_mib   BIGINT NOT NULL,
    PRIMARY KEY (target, package, arch, kind, attempt)
);

-- What is to be expected of the next one, learned from the last measures: an index.
CREATE TABLE learned (
    target     TEXT NOT NULL,
    package    TEXT NOT NULL,
    arch       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    took_us    BIGINT NOT NULL,
    memory_mib BIGINT NOT NULL,
    disk_mib   BIGINT NOT NULL,
    PRIMARY KEY (target, package, arch, kind)
);
