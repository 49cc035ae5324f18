-- Facts belong to facts, and the databases hold them to it: a task to its build, an attempt to its task,
-- an end to its attempt. Which references have no key, and why, is in docs/decisions/0004. No key needs an
-- index of its own, since what is referenced is never deleted.
--
-- SQLite cannot give a table a key, so each is made anew, copied and renamed, the owners first: while a
-- table is dropped, nothing refers to it.

-- Rows without their owner, which only somebody else than rpmfarm can have made, are not thrown away: the
-- name of the constraint that refuses them says where they are (store/explained.rs reads it).
CREATE TABLE orphans (
    place TEXT NOT NULL,
    CONSTRAINT orphans__tasks__build__builds
        CHECK (place <> 'tasks.build'),
    CONSTRAINT orphans__attempts__task__tasks
        CHECK (place <> 'attempts.task'),
    CONSTRAINT orphans__cancellations__build__builds
        CHECK (place <> 'cancellations.build'),
    CONSTRAINT orphans__retries__build__builds
        CHECK (place <> 'retries.build'),
    CONSTRAINT orphans__failures__build__builds
        CHECK (place <> 'failures.build'),
    CONSTRAINT orphans__priority_changes__build__builds
        CHECK (place <> 'priority_changes.build'),
    CONSTRAINT orphans__build_arches__build__builds
        CHECK (place <> 'build_arches.build'),
    CONSTRAINT orphans__build_options__build__builds
        CHECK (place <> 'build_options.build'),
    CONSTRAINT orphans__build_modifications__build__builds
        CHECK (place <> 'build_modifications.build'),
    CONSTRAINT orphans__bumps__build__builds
        CHECK (place <> 'bumps.build'),
    CONSTRAINT orphans__build_notes__build__builds
        CHECK (place <> 'build_notes.build'),
    CONSTRAINT orphans__imports__build__builds
        CHECK (place <> 'imports.build'),
    CONSTRAINT orphans__source_records__build__builds
        CHECK (place <> 'source_records.build'),
    CONSTRAINT orphans__source_notes__build__builds
        CHECK (place <> 'source_notes.build'),
    CONSTRAINT orphans__build_cves__build__builds
        CHECK (place <> 'build_cves.build'),
    CONSTRAINT orphans__srpms__build__builds
        CHECK (place <> 'srpms.build'),
    CONSTRAINT orphans__locks__task__tasks
        CHECK (place <> 'locks.task'),
    CONSTRAINT orphans__dynamic_requires__task__tasks
        CHECK (place <> 'dynamic_requires.task'),
    CONSTRAINT orphans__dynamic_requires__attempt__attempts
        CHECK (place <> 'dynamic_requires.attempt'),
    CONSTRAINT orphans__postponements__task__tasks
        CHECK (place <> 'postponements.task'),
    CONSTRAINT orphans__task_needs__task__tasks
        CHECK (place <> 'task_needs.task'),
    CONSTRAINT orphans__taken_packages__task__tasks
        CHECK (place <> 'taken_packages.task'),
    CONSTRAINT orphans__attempt_ends__attempt__attempts
        CHECK (place <> 'attempt_ends.attempt'),
    CONSTRAINT orphans__uploads__attempt__attempts
        CHECK (place <> 'uploads.attempt'),
    CONSTRAINT orphans__kept_files__attempt__attempts
        CHECK (place <> 'kept_files.attempt'),
    CONSTRAINT orphans__late_results__attempt__attempts
        CHECK (place <> 'late_results.attempt'),
    CONSTRAINT orphans__acceptances__task__tasks
        CHECK (place <> 'acceptances.task'),
    CONSTRAINT orphans__acceptances__attempt__attempts
        CHECK (place <> 'acceptances.attempt'),
    CONSTRAINT orphans__results__task__tasks
        CHECK (place <> 'results.task'),
    CONSTRAINT orphans__packages__build__builds
        CHECK (place <> 'packages.build'),
    CONSTRAINT orphans__packages__task__tasks
        CHECK (place <> 'packages.task'),
    CONSTRAINT orphans__withdrawn_packages__build__builds
        CHECK (place <> 'withdrawn_packages.build'),
    CONSTRAINT orphans__withdrawn_packages__task__tasks
        CHECK (place <> 'withdrawn_packages.task'),
    CONSTRAINT orphans__withdrawals__build__builds
        CHECK (place <> 'withdrawals.build'),
    CONSTRAINT orphans__impacts__build__builds
        CHECK (place <> 'impacts.build'),
    CONSTRAINT orphans__claims__build__builds
        CHECK (place <> 'claims.build'),
    CONSTRAINT orphans__claim_decisions__build__builds
        CHECK (place <> 'claim_decisions.build'),
    CONSTRAINT orphans__publications__build__builds
        CHECK (place <> 'publications.build'),
    CONSTRAINT orphans__publications__revision__revisions
        CHECK (place <> 'publications.revision'),
    CONSTRAINT orphans__push_ends__push__pushes
        CHECK (place <> 'push_ends.push'),
    CONSTRAINT orphans__push_pairs__push__pushes
        CHECK (place <> 'push_pairs.push'),
    CONSTRAINT orphans__push_approvals__push__pushes
        CHECK (place <> 'push_approvals.push'),
    CONSTRAINT orphans__storm_pushes__push__pushes
        CHECK (place <> 'storm_pushes.push'),
    CONSTRAINT orphans__storm_pushes__storm__storms
        CHECK (place <> 'storm_pushes.storm'),
    CONSTRAINT orphans__enrolments__invitation__invitations
        CHECK (place <> 'enrolments.invitation'),
    CONSTRAINT orphans__certificate_ends__fingerprint__worker_certificates
        CHECK (place <> 'certificate_ends.fingerprint')
);
INSERT INTO orphans (place) SELECT 'tasks.build' FROM tasks c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'attempts.task' FROM attempts c
WHERE NOT EXISTS (SELECT 1 FROM tasks p WHERE p.id = c.task);
INSERT INTO orphans (place) SELECT 'cancellations.build' FROM cancellations c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'retries.build' FROM retries c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'failures.build' FROM failures c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'priority_changes.build' FROM priority_changes c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'build_arches.build' FROM build_arches c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'build_options.build' FROM build_options c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'build_modifications.build' FROM build_modifications c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'bumps.build' FROM bumps c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'build_notes.build' FROM build_notes c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'imports.build' FROM imports c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'source_records.build' FROM source_records c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'source_notes.build' FROM source_notes c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'build_cves.build' FROM build_cves c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'srpms.build' FROM srpms c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'locks.task' FROM locks c
WHERE NOT EXISTS (SELECT 1 FROM tasks p WHERE p.id = c.task);
INSERT INTO orphans (place) SELECT 'dynamic_requires.task' FROM dynamic_requires c
WHERE NOT EXISTS (SELECT 1 FROM tasks p WHERE p.id = c.task);
INSERT INTO orphans (place) SELECT 'dynamic_requires.attempt' FROM dynamic_requires c
WHERE NOT EXISTS (SELECT 1 FROM attempts p WHERE p.id = c.attempt);
INSERT INTO orphans (place) SELECT 'postponements.task' FROM postponements c
WHERE NOT EXISTS (SELECT 1 FROM tasks p WHERE p.id = c.task);
INSERT INTO orphans (place) SELECT 'task_needs.task' FROM task_needs c
WHERE NOT EXISTS (SELECT 1 FROM tasks p WHERE p.id = c.task);
INSERT INTO orphans (place) SELECT 'taken_packages.task' FROM taken_packages c
WHERE NOT EXISTS (SELECT 1 FROM tasks p WHERE p.id = c.task);
INSERT INTO orphans (place) SELECT 'attempt_ends.attempt' FROM attempt_ends c
WHERE NOT EXISTS (SELECT 1 FROM attempts p WHERE p.id = c.attempt);
INSERT INTO orphans (place) SELECT 'uploads.attempt' FROM uploads c
WHERE NOT EXISTS (SELECT 1 FROM attempts p WHERE p.id = c.attempt);
INSERT INTO orphans (place) SELECT 'kept_files.attempt' FROM kept_files c
WHERE NOT EXISTS (SELECT 1 FROM attempts p WHERE p.id = c.attempt);
INSERT INTO orphans (place) SELECT 'late_results.attempt' FROM late_results c
WHERE NOT EXISTS (SELECT 1 FROM attempts p WHERE p.id = c.attempt);
INSERT INTO orphans (place) SELECT 'acceptances.task' FROM acceptances c
WHERE NOT EXISTS (SELECT 1 FROM tasks p WHERE p.id = c.task);
INSERT INTO orphans (place) SELECT 'acceptances.attempt' FROM acceptances c
WHERE NOT EXISTS (SELECT 1 FROM attempts p WHERE p.id = c.attempt);
INSERT INTO orphans (place) SELECT 'results.task' FROM results c
WHERE NOT EXISTS (SELECT 1 FROM tasks p WHERE p.id = c.task);
INSERT INTO orphans (place) SELECT 'packages.build' FROM packages c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'packages.task' FROM packages c
WHERE NOT EXISTS (SELECT 1 FROM tasks p WHERE p.id = c.task);
INSERT INTO orphans (place) SELECT 'withdrawn_packages.build' FROM withdrawn_packages c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'withdrawn_packages.task' FROM withdrawn_packages c
WHERE NOT EXISTS (SELECT 1 FROM tasks p WHERE p.id = c.task);
INSERT INTO orphans (place) SELECT 'withdrawals.build' FROM withdrawals c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'impacts.build' FROM impacts c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'claims.build' FROM claims c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'claim_decisions.build' FROM claim_decisions c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'publications.build' FROM publications c
WHERE NOT EXISTS (SELECT 1 FROM builds p WHERE p.id = c.build);
INSERT INTO orphans (place) SELECT 'publications.revision' FROM publications c
WHERE NOT EXISTS (SELECT 1 FROM revisions p WHERE p.target = c.target AND p.channel = c.channel AND p.revision = c.revision);
INSERT INTO orphans (place) SELECT 'push_ends.push' FROM push_ends c
WHERE NOT EXISTS (SELECT 1 FROM pushes p WHERE p.id = c.push);
INSERT INTO orphans (place) SELECT 'push_pairs.push' FROM push_pairs c
WHERE NOT EXISTS (SELECT 1 FROM pushes p WHERE p.id = c.push);
INSERT INTO orphans (place) SELECT 'push_approvals.push' FROM push_approvals c
WHERE NOT EXISTS (SELECT 1 FROM pushes p WHERE p.id = c.push);
INSERT INTO orphans (place) SELECT 'storm_pushes.push' FROM storm_pushes c
WHERE NOT EXISTS (SELECT 1 FROM pushes p WHERE p.id = c.push);
INSERT INTO orphans (place) SELECT 'storm_pushes.storm' FROM storm_pushes c
WHERE NOT EXISTS (SELECT 1 FROM storms p WHERE p.id = c.storm);
INSERT INTO orphans (place) SELECT 'enrolments.invitation' FROM enrolments c
WHERE NOT EXISTS (SELECT 1 FROM invitations p WHERE p.digest = c.invitation);
INSERT INTO orphans (place) SELECT 'certificate_ends.fingerprint' FROM certificate_ends c
WHERE NOT EXISTS (SELECT 1 FROM worker_certificates p WHERE p.fingerprint = c.fingerprint);
DROP TABLE orphans;

CREATE TABLE new_tasks (
    id         BIGINT PRIMARY KEY,
    build      BIGINT NOT NULL REFERENCES builds (id),
    kind       TEXT   NOT NULL,
    arch       TEXT   NOT NULL,
    created_us BIGINT NOT NULL,
    UNIQUE (build, kind, arch)
);
INSERT INTO new_tasks (id, build, kind, arch, created_us)
SELECT id, build, kind, arch, created_us FROM tasks;
DROP TABLE tasks;
ALTER TABLE new_tasks RENAME TO tasks;

CREATE TABLE new_attempts (
    id         BIGINT PRIMARY KEY,
    task       BIGINT NOT NULL REFERENCES tasks (id),
    epoch      BIGINT NOT NULL,
    worker     TEXT   NOT NULL,
    started_us BIGINT NOT NULL,
    memory_mib BIGINT NOT NULL DEFAULT 0,
    disk_mib   BIGINT NOT NULL DEFAULT 0,
    UNIQUE (task, epoch)
);
INSERT INTO new_attempts (id, task, epoch, worker, started_us, memory_mib, disk_mib)
SELECT id, task, epoch, worker, started_us, memory_mib, disk_mib FROM attempts;
DROP TABLE attempts;
ALTER TABLE new_attempts RENAME TO attempts;
CREATE INDEX attempts_worker ON attempts (worker, id);

CREATE TABLE new_cancellations (
    build BIGINT NOT NULL REFERENCES builds (id),
    at_us BIGINT NOT NULL,
    PRIMARY KEY (build, at_us)
);
INSERT INTO new_cancellations (build, at_us)
SELECT build, at_us FROM cancellations;
DROP TABLE cancellations;
ALTER TABLE new_cancellations RENAME TO cancellations;

CREATE TABLE new_retries (
    build BIGINT NOT NULL REFERENCES builds (id),
    at_us BIGINT NOT NULL,
    PRIMARY KEY (build, at_us)
);
INSERT INTO new_retries (build, at_us)
SELECT build, at_us FROM retries;
DROP TABLE retries;
ALTER TABLE new_retries RENAME TO retries;

CREATE TABLE new_failures (
    build    BIGINT NOT NULL REFERENCES builds (id),
    at_us    BIGINT NOT NULL,
    task     BIGINT NOT NULL,
    stage    TEXT   NOT NULL,
    failure  TEXT   NOT NULL,
    retry_us BIGINT NOT NULL,
    PRIMARY KEY (build, task, at_us)
);
INSERT INTO new_failures (build, at_us, task, stage, failure, retry_us)
SELECT build, at_us, task, stage, failure, retry_us FROM failures;
DROP TABLE failures;
ALTER TABLE new_failures RENAME TO failures;

CREATE TABLE new_priority_changes (
    build    BIGINT NOT NULL REFERENCES builds (id),
    at_us    BIGINT NOT NULL,
    priority TEXT   NOT NULL,
    PRIMARY KEY (build, at_us)
);
INSERT INTO new_priority_changes (build, at_us, priority)
SELECT build, at_us, priority FROM priority_changes;
DROP TABLE priority_changes;
ALTER TABLE new_priority_changes RENAME TO priority_changes;

CREATE TABLE new_build_arches (
    build BIGINT NOT NULL REFERENCES builds (id),
    arch  TEXT   NOT NULL,
    PRIMARY KEY (build, arch)
);
INSERT INTO new_build_arches (build, arch)
SELECT build, arch FROM build_arches;
DROP TABLE build_arches;
ALTER TABLE new_build_arches RENAME TO build_arches;

CREATE TABLE new_build_options (
    build   BIGINT PRIMARY KEY REFERENCES builds (id),
    options TEXT   NOT NULL
);
INSERT INTO new_build_options (build, options)
SELECT build, options FROM build_options;
DROP TABLE build_options;
ALTER TABLE new_build_options RENAME TO build_options;

CREATE TABLE new_build_modifications (
    build   BIGINT PRIMARY KEY REFERENCES builds (id),
    git_ref TEXT   NOT NULL
);
INSERT INTO new_build_modifications (build, git_ref)
SELECT build, git_ref FROM build_modifications;
DROP TABLE build_modifications;
ALTER TABLE new_build_modifications RENAME TO build_modifications;

CREATE TABLE new_bumps (
    build BIGINT PRIMARY KEY REFERENCES builds (id)
);
INSERT INTO new_bumps (build)
SELECT build FROM bumps;
DROP TABLE bumps;
ALTER TABLE new_bumps RENAME TO bumps;

CREATE TABLE new_build_notes (
    build    BIGINT NOT NULL REFERENCES builds (id),
    position BIGINT NOT NULL,
    note     TEXT   NOT NULL,
    PRIMARY KEY (build, position)
);
INSERT INTO new_build_notes (build, position, note)
SELECT build, position, note FROM build_notes;
DROP TABLE build_notes;
ALTER TABLE new_build_notes RENAME TO build_notes;

CREATE TABLE new_imports (
    build     BIGINT PRIMARY KEY REFERENCES builds (id),
    url       TEXT   NOT NULL,
    commit_id TEXT   NOT NULL,
    subject   TEXT   NOT NULL,
    bundle    TEXT   NOT NULL,
    at_us     BIGINT NOT NULL
);
INSERT INTO new_imports (build, url, commit_id, subject, bundle, at_us)
SELECT build, url, commit_id, subject, bundle, at_us FROM imports;
DROP TABLE imports;
ALTER TABLE new_imports RENAME TO imports;

CREATE TABLE new_source_records (
    build        BIGINT PRIMARY KEY REFERENCES builds (id),
    modification TEXT   NOT NULL,
    record       TEXT   NOT NULL
);
INSERT INTO new_source_records (build, modification, record)
SELECT build, modification, record FROM source_records;
DROP TABLE source_records;
ALTER TABLE new_source_records RENAME TO source_records;

CREATE TABLE new_source_notes (
    build BIGINT NOT NULL REFERENCES builds (id),
    n     BIGINT NOT NULL,
    note  TEXT   NOT NULL,
    PRIMARY KEY (build, n)
);
INSERT INTO new_source_notes (build, n, note)
SELECT build, n, note FROM source_notes;
DROP TABLE source_notes;
ALTER TABLE new_source_notes RENAME TO source_notes;

CREATE TABLE new_build_cves (
    build BIGINT PRIMARY KEY REFERENCES builds (id),
    ids   TEXT   NOT NULL,
    at_us BIGINT NOT NULL
);
INSERT INTO new_build_cves (build, ids, at_us)
SELECT build, ids, at_us FROM build_cves;
DROP TABLE build_cves;
ALTER TABLE new_build_cves RENAME TO build_cves;

CREATE TABLE new_srpms (
    build     BIGINT PRIMARY KEY REFERENCES builds (id),
    digest    TEXT   NOT NULL,
    size      BIGINT NOT NULL,
    nevra     TEXT   NOT NULL,
    requires  TEXT   NOT NULL,
    conflicts TEXT   NOT NULL,
    predicts  TEXT   NOT NULL,
    dynamic   BIGINT NOT NULL,
    terms     TEXT   NOT NULL DEFAULT '{}'
);
INSERT INTO new_srpms (build, digest, size, nevra, requires, conflicts, predicts, dynamic, terms)
SELECT build, digest, size, nevra, requires, conflicts, predicts, dynamic, terms FROM srpms;
DROP TABLE srpms;
ALTER TABLE new_srpms RENAME TO srpms;

CREATE TABLE new_locks (
    task   BIGINT NOT NULL REFERENCES tasks (id),
    round  BIGINT NOT NULL,
    digest TEXT   NOT NULL,
    at_us  BIGINT NOT NULL,
    PRIMARY KEY (task, round)
);
INSERT INTO new_locks (task, round, digest, at_us)
SELECT task, round, digest, at_us FROM locks;
DROP TABLE locks;
ALTER TABLE new_locks RENAME TO locks;

CREATE TABLE new_dynamic_requires (
    task     BIGINT NOT NULL REFERENCES tasks (id),
    round    BIGINT NOT NULL,
    attempt  BIGINT NOT NULL REFERENCES attempts (id),
    requires TEXT   NOT NULL,
    at_us    BIGINT NOT NULL,
    PRIMARY KEY (task, round)
);
INSERT INTO new_dynamic_requires (task, round, attempt, requires, at_us)
SELECT task, round, attempt, requires, at_us FROM dynamic_requires;
DROP TABLE dynamic_requires;
ALTER TABLE new_dynamic_requires RENAME TO dynamic_requires;

CREATE TABLE new_postponements (
    task  BIGINT NOT NULL REFERENCES tasks (id),
    round BIGINT NOT NULL,
    at_us BIGINT NOT NULL,
    PRIMARY KEY (task, round)
);
INSERT INTO new_postponements (task, round, at_us)
SELECT task, round, at_us FROM postponements;
DROP TABLE postponements;
ALTER TABLE new_postponements RENAME TO postponements;

CREATE TABLE new_task_needs (
    task  BIGINT PRIMARY KEY REFERENCES tasks (id),
    needs TEXT   NOT NULL
);
INSERT INTO new_task_needs (task, needs)
SELECT task, needs FROM task_needs;
DROP TABLE task_needs;
ALTER TABLE new_task_needs RENAME TO task_needs;

CREATE TABLE new_taken_packages (
    task  BIGINT PRIMARY KEY REFERENCES tasks (id),
    taken TEXT   NOT NULL
);
INSERT INTO new_taken_packages (task, taken)
SELECT task, taken FROM taken_packages;
DROP TABLE taken_packages;
ALTER TABLE new_taken_packages RENAME TO taken_packages;

CREATE TABLE new_attempt_ends (
    attempt BIGINT PRIMARY KEY REFERENCES attempts (id),
    outcome TEXT   NOT NULL,
    report  TEXT   NOT NULL,
    at_us   BIGINT NOT NULL
);
INSERT INTO new_attempt_ends (attempt, outcome, report, at_us)
SELECT attempt, outcome, report, at_us FROM attempt_ends;
DROP TABLE attempt_ends;
ALTER TABLE new_attempt_ends RENAME TO attempt_ends;

CREATE TABLE new_uploads (
    attempt BIGINT NOT NULL REFERENCES attempts (id),
    digest  TEXT   NOT NULL,
    size    BIGINT NOT NULL,
    at_us   BIGINT NOT NULL,
    PRIMARY KEY (attempt, digest)
);
INSERT INTO new_uploads (attempt, digest, size, at_us)
SELECT attempt, digest, size, at_us FROM uploads;
DROP TABLE uploads;
ALTER TABLE new_uploads RENAME TO uploads;

CREATE TABLE new_kept_files (
    attempt BIGINT NOT NULL REFERENCES attempts (id),
    path    TEXT   NOT NULL,
    digest  TEXT   NOT NULL,
    size    BIGINT NOT NULL,
    PRIMARY KEY (attempt, path)
);
INSERT INTO new_kept_files (attempt, path, digest, size)
SELECT attempt, path, digest, size FROM kept_files;
DROP TABLE kept_files;
ALTER TABLE new_kept_files RENAME TO kept_files;

CREATE TABLE new_late_results (
    attempt BIGINT PRIMARY KEY REFERENCES attempts (id),
    said    TEXT   NOT NULL,
    at_us   BIGINT NOT NULL
);
INSERT INTO new_late_results (attempt, said, at_us)
SELECT attempt, said, at_us FROM late_results;
DROP TABLE late_results;
ALTER TABLE new_late_results RENAME TO late_results;

CREATE TABLE new_acceptances (
    task        BIGINT PRIMARY KEY REFERENCES tasks (id),
    attempt     BIGINT NOT NULL REFERENCES attempts (id),
    rpmbuild_ms BIGINT NOT NULL,
    at_us       BIGINT NOT NULL
);
INSERT INTO new_acceptances (task, attempt, rpmbuild_ms, at_us)
SELECT task, attempt, rpmbuild_ms, at_us FROM acceptances;
DROP TABLE acceptances;
ALTER TABLE new_acceptances RENAME TO acceptances;

CREATE TABLE new_results (
    task     BIGINT NOT NULL REFERENCES tasks (id),
    nevra    TEXT   NOT NULL,
    build    BIGINT NOT NULL,
    arch     TEXT   NOT NULL,
    digest   TEXT   NOT NULL,
    size     BIGINT NOT NULL,
    repodata TEXT   NOT NULL,
    content  TEXT   NOT NULL,
    PRIMARY KEY (task, nevra)
);
INSERT INTO new_results (task, nevra, build, arch, digest, size, repodata, content)
SELECT task, nevra, build, arch, digest, size, repodata, content FROM results;
DROP TABLE results;
ALTER TABLE new_results RENAME TO results;
CREATE INDEX results_build ON results (build);

CREATE TABLE new_packages (
    target   TEXT   NOT NULL,
    nevra    TEXT   NOT NULL,
    build    BIGINT NOT NULL REFERENCES builds (id),
    task     BIGINT NOT NULL REFERENCES tasks (id),
    arch     TEXT   NOT NULL,
    digest   TEXT   NOT NULL,
    size     BIGINT NOT NULL,
    repodata TEXT   NOT NULL,
    PRIMARY KEY (target, nevra)
);
INSERT INTO new_packages (target, nevra, build, task, arch, digest, size, repodata)
SELECT target, nevra, build, task, arch, digest, size, repodata FROM packages;
DROP TABLE packages;
ALTER TABLE new_packages RENAME TO packages;
CREATE INDEX packages_build ON packages (build);
CREATE INDEX packages_digest ON packages (digest);

CREATE TABLE new_withdrawn_packages (
    target     TEXT   NOT NULL,
    nevra      TEXT   NOT NULL,
    build      BIGINT NOT NULL REFERENCES builds (id),
    task       BIGINT NOT NULL REFERENCES tasks (id),
    arch       TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    size       BIGINT NOT NULL,
    repodata   TEXT   NOT NULL,
    withdrawal BIGINT NOT NULL,
    PRIMARY KEY (target, nevra, digest)
);
INSERT INTO new_withdrawn_packages (target, nevra, build, task, arch, digest, size, repodata,
    withdrawal)
SELECT target, nevra, build, task, arch, digest, size, repodata, withdrawal FROM withdrawn_packages;
DROP TABLE withdrawn_packages;
ALTER TABLE new_withdrawn_packages RENAME TO withdrawn_packages;
CREATE INDEX withdrawn_packages_build ON withdrawn_packages (build);

CREATE TABLE new_withdrawals (
    id     BIGINT NOT NULL,
    target TEXT   NOT NULL,
    nevra  TEXT   NOT NULL,
    build  BIGINT NOT NULL REFERENCES builds (id),
    word   TEXT   NOT NULL,
    who    TEXT   NOT NULL,
    reason TEXT   NOT NULL,
    at_us  BIGINT NOT NULL,
    PRIMARY KEY (id, target, nevra)
);
INSERT INTO new_withdrawals (id, target, nevra, build, word, who, reason, at_us)
SELECT id, target, nevra, build, word, who, reason, at_us FROM withdrawals;
DROP TABLE withdrawals;
ALTER TABLE new_withdrawals RENAME TO withdrawals;
CREATE INDEX withdrawals_build ON withdrawals (build);

CREATE TABLE new_impacts (
    build   BIGINT NOT NULL REFERENCES builds (id),
    target  TEXT   NOT NULL,
    nevra   TEXT   NOT NULL,
    digest  TEXT   NOT NULL,
    through BIGINT NOT NULL,
    PRIMARY KEY (build, digest)
);
INSERT INTO new_impacts (build, target, nevra, digest, through)
SELECT build, target, nevra, digest, through FROM impacts;
DROP TABLE impacts;
ALTER TABLE new_impacts RENAME TO impacts;
CREATE INDEX impacts_package ON impacts (target, nevra);

CREATE TABLE new_claims (
    build   BIGINT NOT NULL REFERENCES builds (id),
    kind    TEXT   NOT NULL,
    what    TEXT   NOT NULL,
    package TEXT   NOT NULL,
    owners  TEXT   NOT NULL,
    at_us   BIGINT NOT NULL,
    PRIMARY KEY (build, kind, what)
);
INSERT INTO new_claims (build, kind, what, package, owners, at_us)
SELECT build, kind, what, package, owners, at_us FROM claims;
DROP TABLE claims;
ALTER TABLE new_claims RENAME TO claims;

CREATE TABLE new_claim_decisions (
    build  BIGINT NOT NULL REFERENCES builds (id),
    at_us  BIGINT NOT NULL,
    word   TEXT   NOT NULL,
    who    TEXT   NOT NULL,
    reason TEXT   NOT NULL,
    PRIMARY KEY (build, at_us)
);
INSERT INTO new_claim_decisions (build, at_us, word, who, reason)
SELECT build, at_us, word, who, reason FROM claim_decisions;
DROP TABLE claim_decisions;
ALTER TABLE new_claim_decisions RENAME TO claim_decisions;

CREATE TABLE new_publications (
    build    BIGINT NOT NULL REFERENCES builds (id),
    target   TEXT   NOT NULL,
    channel  TEXT   NOT NULL,
    revision BIGINT NOT NULL,
    at_us    BIGINT NOT NULL,
    PRIMARY KEY (build, channel),
    FOREIGN KEY (target, channel, revision) REFERENCES revisions (target, channel, revision)
);
INSERT INTO new_publications (build, target, channel, revision, at_us)
SELECT build, target, channel, revision, at_us FROM publications;
DROP TABLE publications;
ALTER TABLE new_publications RENAME TO publications;

CREATE TABLE new_push_ends (
    push        BIGINT PRIMARY KEY REFERENCES pushes (id),
    verdict     TEXT   NOT NULL,
    request_key TEXT   NOT NULL,
    build       BIGINT NOT NULL,
    at_us       BIGINT NOT NULL
);
INSERT INTO new_push_ends (push, verdict, request_key, build, at_us)
SELECT push, verdict, request_key, build, at_us FROM push_ends;
DROP TABLE push_ends;
ALTER TABLE new_push_ends RENAME TO push_ends;
CREATE INDEX push_ends_at ON push_ends (at_us);
CREATE INDEX push_ends_key ON push_ends (request_key);

CREATE TABLE new_push_pairs (
    push         BIGINT PRIMARY KEY REFERENCES pushes (id),
    git_ref      TEXT   NOT NULL,
    modification TEXT   NOT NULL
);
INSERT INTO new_push_pairs (push, git_ref, modification)
SELECT push, git_ref, modification FROM push_pairs;
DROP TABLE push_pairs;
ALTER TABLE new_push_pairs RENAME TO push_pairs;

CREATE TABLE new_push_approvals (
    push  BIGINT PRIMARY KEY REFERENCES pushes (id),
    who   TEXT   NOT NULL,
    at_us BIGINT NOT NULL
);
INSERT INTO new_push_approvals (push, who, at_us)
SELECT push, who, at_us FROM push_approvals;
DROP TABLE push_approvals;
ALTER TABLE new_push_approvals RENAME TO push_approvals;

CREATE TABLE new_storm_pushes (
    push  BIGINT PRIMARY KEY REFERENCES pushes (id),
    storm BIGINT NOT NULL REFERENCES storms (id)
);
INSERT INTO new_storm_pushes (push, storm)
SELECT push, storm FROM storm_pushes;
DROP TABLE storm_pushes;
ALTER TABLE new_storm_pushes RENAME TO storm_pushes;
CREATE INDEX storm_pushes_storm ON storm_pushes (storm);

CREATE TABLE new_enrolments (
    invitation  TEXT   PRIMARY KEY REFERENCES invitations (digest),
    id          BIGINT NOT NULL,
    worker      TEXT   NOT NULL,
    arches      TEXT   NOT NULL,
    key_digest  TEXT   NOT NULL,
    certificate TEXT   NOT NULL,
    at_us       BIGINT NOT NULL
);
INSERT INTO new_enrolments (invitation, id, worker, arches, key_digest, certificate, at_us)
SELECT invitation, id, worker, arches, key_digest, certificate, at_us FROM enrolments;
DROP TABLE enrolments;
ALTER TABLE new_enrolments RENAME TO enrolments;
CREATE INDEX enrolments_worker ON enrolments (worker, id);

CREATE TABLE new_certificate_ends (
    fingerprint TEXT   PRIMARY KEY REFERENCES worker_certificates (fingerprint),
    reason      TEXT   NOT NULL,
    at_us       BIGINT NOT NULL
);
INSERT INTO new_certificate_ends (fingerprint, reason, at_us)
SELECT fingerprint, reason, at_us FROM certificate_ends;
DROP TABLE certificate_ends;
ALTER TABLE new_certificate_ends RENAME TO certificate_ends;
