-- Indexes for queries that went through a whole table, as a test of their plans found
-- (coordinator/tests/store/plans.rs).

-- An attempt is taken from its worker by its own number, with each of its ends, uploads and kept files.
CREATE INDEX live_attempts_attempt ON live_attempts (attempt);

-- The newest builds and pushes of one target, a page at a time.
CREATE INDEX builds_target ON builds (target, id);
CREATE INDEX pushes_target ON pushes (target, id);

-- Certificates that were ended and would still hold: those that have run out are many more.
CREATE INDEX worker_certificates_ends ON worker_certificates (ends_us);

-- What a package that is given back had led to.
CREATE INDEX impacts_package ON impacts (target, nevra);
