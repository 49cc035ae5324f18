-- Rows of tables and columns that came after the keys (migration 0038): filled.sql is also run on the
-- schema of before them, to test the upgrade.

INSERT INTO task_urgencies (task, urgency_us) SELECT id, 1 + id % 100 FROM tasks WHERE kind = 'build';
UPDATE ready_tasks SET batch = (SELECT b.batch FROM builds b WHERE b.id = ready_tasks.build);
UPDATE ready_tasks SET urgency_us = 1 + task % 100, srpm = task % 2;
INSERT INTO ready_queues (arch, needs, srpm) SELECT DISTINCT arch, needs, 1 FROM ready_tasks WHERE srpm = 1;
