-- A farm with a history, in one text for SQLite and PostgreSQL: rows of every table that a farm writes.
-- :builds is how many builds there are. Each fourth is open, each tenth failed, as many were cancelled.
-- A statement ends with a semicolon at the end of a line.

INSERT INTO builds (id, batch, target, package, git_ref, submitter, request_key, created_us, priority)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :builds)
SELECT i, 1 + i / 3, 't' || i % 20, 'p' || i % 700, '', 'u' || i % 9,
    CASE WHEN i % 2 = 0 THEN 'key' || i ELSE '' END, i, 'tracking' FROM n;

INSERT INTO open_builds (build) SELECT id FROM builds WHERE id % 4 = 0;
INSERT INTO cancellations (build, at_us) SELECT id, 5 FROM builds WHERE id % 10 = 1;
INSERT INTO retries (build, at_us) SELECT id, 6 FROM builds WHERE id % 10 = 1;
INSERT INTO priority_changes (build, at_us, priority) SELECT id, 5, 'mass' FROM builds WHERE id % 20 = 0;
INSERT INTO build_arches (build, arch) SELECT id, 'x86_64' FROM builds WHERE id % 3 = 0;
INSERT INTO build_options (build, options) SELECT id, '{}' FROM builds WHERE id % 5 = 0;
INSERT INTO build_modifications (build, git_ref) SELECT id, 'c2' FROM builds WHERE id % 5 = 0;
INSERT INTO build_notes (build, position, note) SELECT id, 0, 'a note' FROM builds WHERE id % 3 = 0;
INSERT INTO bumps (build) SELECT id FROM builds WHERE id % 6 = 0;
INSERT INTO imports (build, url, commit_id, subject, bundle, at_us)
SELECT id, 'https://git/p', 'c' || id, 'a subject', 'b' || id, 10 FROM builds;
INSERT INTO source_records (build, modification, record) SELECT id, '', '{}' FROM builds;
INSERT INTO source_notes (build, n, note) SELECT id, 0, 'a note' FROM builds WHERE id % 3 = 0;
INSERT INTO build_cves (build, ids, at_us) SELECT id, '["CVE-2026-1"]', 10 FROM builds WHERE id % 2 = 0;

INSERT INTO tasks (id, build, kind, arch, created_us)
SELECT 2 * id - 1, id, 'srpm', 'x86_64', 11 FROM builds;
INSERT INTO tasks (id, build, kind, arch, created_us)
SELECT 2 * id, id, 'build', 'x86_64', 11 FROM builds;
INSERT INTO failures (build, at_us, task, stage, failure, retry_us)
SELECT build, 12, CASE WHEN kind = 'srpm' THEN 0 ELSE id END, 'build', '{}', 0
FROM tasks WHERE build % 10 = 0;
INSERT INTO locks (task, round, digest, at_us) SELECT id, 0, 'l' || id, 12 FROM tasks;
INSERT INTO task_ranks (task, class, rank) SELECT id, 'tracking', id FROM tasks;
INSERT INTO task_needs (task, needs) SELECT id, '' FROM tasks;
INSERT INTO taken_packages (task, taken) SELECT id, '[]' FROM tasks;
INSERT INTO attempts (id, task, epoch, worker, started_us, memory_mib, disk_mib)
SELECT id, id, 1, 'w' || id % 50, 13, 0, 0 FROM tasks;
INSERT INTO attempt_ends (attempt, outcome, report, at_us)
SELECT a.id, CASE WHEN t.build % 10 = 0 THEN 'failed' ELSE 'succeeded' END, 'null', 14
FROM attempts a JOIN tasks t ON t.id = a.task WHERE t.build % 4 <> 0;
INSERT INTO live_attempts (task, attempt, worker)
SELECT a.task, a.id, a.worker FROM attempts a JOIN tasks t ON t.id = a.task WHERE t.build % 4 = 0;
INSERT INTO dynamic_requires (task, round, attempt, requires, at_us)
SELECT task, 0, id, '["a"]', 13 FROM attempts;
INSERT INTO postponements (task, round, at_us) SELECT id, 0, 13 FROM tasks WHERE build % 30 = 0;
INSERT INTO uploads (attempt, digest, size, at_us) SELECT id, 'd' || id, 1, 13 FROM attempts;
INSERT INTO kept_files (attempt, path, digest, size)
SELECT a.attempt, 'config.log', 'd' || a.attempt, 1 FROM attempt_ends a WHERE a.outcome = 'failed';
INSERT INTO late_results (attempt, said, at_us)
SELECT attempt, 'succeeded', 15 FROM attempt_ends WHERE outcome = 'failed';
INSERT INTO acceptances (task, attempt, rpmbuild_ms, at_us)
SELECT a.task, a.id, 1, 15 FROM attempts a JOIN attempt_ends e ON e.attempt = a.id
WHERE e.outcome = 'succeeded';
INSERT INTO signed_acceptances (target, digest, acceptance, signature)
SELECT 't' || id % 20, 'd' || id, 'a', 's' FROM attempts;
INSERT INTO measures (target, package, arch, kind, attempt, took_us, memory_mib, disk_mib,
    had_memory_mib, had_disk_mib)
SELECT b.target, b.package, t.arch, t.kind, c.attempt, 1, 1, 1, 1, 1
FROM acceptances c JOIN tasks t ON t.id = c.task JOIN builds b ON b.id = t.build;
INSERT INTO learned (target, package, arch, kind, took_us, memory_mib, disk_mib,
    enough_memory_mib, enough_disk_mib)
SELECT DISTINCT target, package, arch, kind, 1, 1, 1, 1, 1 FROM measures;
INSERT INTO srpms (build, digest, size, nevra, requires, conflicts, predicts, dynamic, terms)
SELECT t.build, 'd' || t.build, 1, 'p' || t.build || '-1-1.src', '[]', '[]', '[]', 0, '{}'
FROM acceptances c JOIN tasks t ON t.id = c.task WHERE t.kind = 'srpm';
INSERT INTO results (task, nevra, build, arch, digest, size, repodata, content)
SELECT t.id, 'p' || t.build || '-1-1.x86_64', t.build, t.arch, 'd' || t.id, 1, 'r' || t.id, ''
FROM acceptances c JOIN tasks t ON t.id = c.task;
INSERT INTO packages (target, nevra, build, task, arch, digest, size, repodata)
SELECT b.target, r.nevra, r.build, r.task, r.arch, r.digest, 1, r.repodata
FROM results r JOIN builds b ON b.id = r.build JOIN tasks t ON t.id = r.task WHERE t.kind = 'build';
INSERT INTO pools (target, changes, withdrawn, shown)
SELECT target, COUNT(*), 0, 0 FROM packages GROUP BY target;
INSERT INTO lacking_packages (target, channel, nevra, arch, requirement)
SELECT target, 'testing', nevra, 'x86_64', 'a' FROM packages WHERE build % 3 = 0;
INSERT INTO signatures (digest, key_name, signed_digest, signed_size, repodata, at_us)
SELECT digest, 'key', 's' || digest, 1, 'r' || digest, 16 FROM packages;
INSERT INTO revisions (target, channel, revision, snapshot, packages, at_us)
SELECT target, 'testing', id, 's' || id, 1, 17 FROM builds WHERE id % 3 = 0;
INSERT INTO publications (build, target, channel, revision, at_us)
SELECT id, target, 'testing', id, 17 FROM builds WHERE id % 3 = 0 AND id % 4 <> 0;
INSERT INTO required_things (target, what) SELECT target, '/usr/bin/' || id FROM builds;
INSERT INTO claims (build, kind, what, package, owners, at_us)
SELECT id, 'name', 'a', 'p' || id || '-1-1.x86_64', '[]', 16 FROM builds WHERE id % 12 = 0;
INSERT INTO claim_decisions (build, at_us, word, who, reason)
SELECT id, 17, 'approved', 'u', 'r' FROM builds WHERE id % 24 = 0;
INSERT INTO withdrawn_packages (target, nevra, build, task, arch, digest, size, repodata, withdrawal)
SELECT b.target, 'gone' || t.id || '-1-1.x86_64', b.id, t.id, t.arch, 'g' || t.id, 1, 'r', t.id
FROM tasks t JOIN builds b ON b.id = t.build WHERE t.id % 14 = 0;
INSERT INTO withdrawals (id, target, nevra, build, word, who, reason, at_us)
SELECT withdrawal, target, nevra, build, 'withdraw', 'u', 'r', 18 FROM withdrawn_packages;
INSERT INTO returning_packages (target, nevra, build, change)
SELECT target, 'back' || id, id, 1 FROM builds WHERE id % 50 = 0;
INSERT INTO impacts (build, target, nevra, digest, through)
SELECT build, target, nevra, digest, 0 FROM withdrawn_packages;

INSERT INTO stage_work (build, stage, task, rank, due_us, target)
SELECT id, CASE WHEN id % 8 = 0 THEN 'import' ELSE 'finish' END, 0, id, 0, target
FROM builds WHERE id % 4 = 0;
INSERT INTO stage_work (build, stage, task, rank, due_us, target)
SELECT b.id, CASE WHEN t.kind = 'build' THEN 'order' ELSE 'lock' END, t.id, b.id, 0, b.target
FROM builds b JOIN tasks t ON t.build = b.id WHERE b.id % 4 = 0;
INSERT INTO ready_tasks (task, build, arch, needs, class, rank)
SELECT t.id, t.build, CASE WHEN t.id % 3 = 0 THEN 'aarch64' ELSE t.arch END, '', 'tracking', t.id
FROM tasks t WHERE t.build % 4 = 0;
INSERT INTO ready_queues (arch, needs) SELECT DISTINCT arch, needs FROM ready_tasks;
INSERT INTO queue_lines (arch, class, submitter, value)
SELECT DISTINCT 'x86_64', 'tracking', submitter, 1 FROM builds;

INSERT INTO worker_states (id, worker, state, reason, at_us)
SELECT id, 'w' || id % 50, 'active', 'r', id FROM builds;
INSERT INTO invitations (digest, worker, arches, created_us, expires_us)
SELECT 'i' || id, 'w' || id % 50, '[]', 1, 2 FROM builds;
INSERT INTO worker_certificates (fingerprint, worker, serial, pem, issued_us, ends_us)
SELECT 'f' || id, 'w' || id % 50, 's', 'pem', id, id FROM builds;
INSERT INTO enrolments (invitation, id, worker, arches, key_digest, certificate, at_us)
SELECT 'i' || id, id, 'w' || id % 50, '[]', 'k', 'f' || id, 2 FROM builds;
INSERT INTO certificate_ends (fingerprint, reason, at_us)
SELECT 'f' || id, 'r', 3 FROM builds WHERE id % 2 = 0;
INSERT INTO coordinators (id, address, base_url, version, started_us, beat)
VALUES ('c1', 'a', 'u', '1', 1, 1), ('c2', 'a', 'u', '1', 1, 1);
INSERT INTO stage_leases (stage, holder, epoch) VALUES ('import', 'c1', 1);
INSERT INTO worker_owners (worker, coordinator, session)
SELECT DISTINCT worker, 'c1', 1 FROM worker_states;
INSERT INTO notes (coordinator, kind, subject, text)
SELECT 'c' || id % 2, 'wait', id, 'it waits' FROM builds WHERE id % 4 = 0;

INSERT INTO tracked (target, package, git_ref, build_first, added_us, due_us, interval_us, looked_us,
    looks, failures, problem, hint_us, hint_commit, hint_modification)
SELECT 't' || id % 20, 'p' || id, '', 0, 1, id, 1, 1, 1, 0, '', 0, '', '' FROM builds;
INSERT INTO track_refs (target, package, repository, branch, commit_id, at_us)
SELECT target, package, 'r', 'main', 'c', 1 FROM tracked;
INSERT INTO track_orders (id, target, package, word, reason, until_us, who, at_us)
SELECT id, target, package, 'hold', 'r', 0, 'u', 1 FROM builds;
INSERT INTO pushes (id, target, package, repository, branch, commit_id, before_id, told_by, seen_us,
    modifies)
SELECT id, target, package, 'r', 'main', 'c' || id, 'c0', 'poll', id, 0 FROM builds;
INSERT INTO open_pushes (push) SELECT id FROM pushes WHERE id % 20 = 0;
INSERT INTO push_ends (push, verdict, request_key, build, at_us)
SELECT id, 'build', 'key' || id, 0, id FROM pushes WHERE id % 20 <> 0;
INSERT INTO push_pairs (push, git_ref, modification)
SELECT push, 'c', '' FROM push_ends;
INSERT INTO push_requests (request_key) SELECT 'key' || id FROM pushes WHERE id % 50 = 0;
INSERT INTO push_approvals (push, who, at_us) SELECT id, 'u', 2 FROM pushes WHERE id % 3 = 0;
INSERT INTO storms (id, target, reason, at_us)
SELECT id, target, 'r', 1 FROM pushes WHERE id % 10 = 0;
INSERT INTO storm_pushes (push, storm) SELECT id, id FROM storms;
INSERT INTO hooks (target, digest, delivery, at_us)
SELECT target, 'd' || id, 'd' || id, id FROM builds;
INSERT INTO hook_repositories (target, repository, package, modifies)
SELECT target, 'github:' || id, package, 0 FROM builds;

-- Tables that are newer than the keys of migration 0038.

INSERT INTO build_ends (build, target, state)
SELECT id, target, CASE WHEN id % 10 = 1 THEN 'cancelled' WHEN id % 3 = 0 THEN 'published' ELSE 'failed' END
FROM builds WHERE id % 4 <> 0;
