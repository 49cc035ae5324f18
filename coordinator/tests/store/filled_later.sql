-- The same for tables that came with 0039 and later, which the schema of older versions does not have.

INSERT INTO pool_packages (target, nevra, build, source, superseded)
SELECT p.target, p.nevra, p.build, b.package, CASE WHEN p.build % 50 = 0 THEN 1 ELSE 0 END
FROM packages p JOIN builds b ON b.id = p.build;
INSERT INTO pool_changes (target, version, nevra)
SELECT target, build, nevra FROM pool_packages;
INSERT INTO pool_holds (target, batch, nevra)
SELECT p.target, b.batch, p.nevra FROM pool_packages p JOIN builds b ON b.id = p.build
WHERE b.id % 4 = 0;
INSERT INTO pool_states (target, version, since, seen)
SELECT target, changes, 0, changes FROM pools;
INSERT INTO channel_packages (target, channel, nevra, since_revision, until_revision, digest, source, excluded)
SELECT p.target, 'testing', p.nevra, p.build, CASE WHEN p.build % 2 = 0 THEN p.build + 3 ELSE 0 END,
    's' || p.digest, p.nevra, ''
FROM packages p;
INSERT INTO channel_heads (target, channel, revision)
SELECT target, channel, MAX(revision) FROM revisions GROUP BY target, channel;
INSERT INTO blob_proofs (digest, inode, size, mtime_ns, at_us)
SELECT DISTINCT signed_digest, 1, 1, 1, 16 FROM signatures;
INSERT INTO batch_heads (batch, seq)
SELECT DISTINCT batch, 3 FROM builds WHERE id % 4 = 0;
INSERT INTO batch_events (batch, seq, build)
SELECT b.batch, n.seq, b.id FROM builds b
JOIN (SELECT 1 AS seq UNION ALL SELECT 2 UNION ALL SELECT 3) n ON b.id % 4 = 0;
INSERT INTO build_ends (build, target, state)
SELECT id, target, CASE WHEN id % 10 = 1 THEN 'cancelled' WHEN id % 3 = 0 THEN 'published' ELSE 'failed' END
FROM builds WHERE id % 4 <> 0;
INSERT INTO batches (id, order_mode, paused_us, submitter, at_us)
SELECT DISTINCT batch, 'requires', CASE WHEN batch % 20 = 0 THEN 1 ELSE 0 END, 'ann', 1 FROM builds;
INSERT INTO task_urgencies (task, urgency_us) SELECT id, 1 + id % 100 FROM tasks WHERE kind = 'build';
UPDATE ready_tasks SET batch = (SELECT b.batch FROM builds b WHERE b.id = ready_tasks.build);
UPDATE ready_tasks SET urgency_us = 1 + task % 100, srpm = task % 2;
INSERT INTO ready_queues (arch, needs, srpm) SELECT DISTINCT arch, needs, 1 FROM ready_tasks WHERE srpm = 1;
INSERT INTO proofs (target, channel, at_us, content, took_us, total, problems, unproven)
SELECT target, channel, at_us + revision, snapshot, 5, 0, '[]', '' FROM revisions;
INSERT INTO accepted_problems (target, channel, at_us, kind, package, what, until_us, who, reason)
SELECT target, channel, at_us + revision, 'lost', 'package', 'what', 0, 'ann', 'x' FROM revisions;
INSERT INTO unplaced_packages (target, channel, nevra, source, since_us)
SELECT target, 'testing', nevra, nevra, 17 FROM packages WHERE build % 3 = 0;
