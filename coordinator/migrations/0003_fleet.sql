-- What is decided about workers, who they are, and what their attempts have announced.
-- One text for SQLite and PostgreSQL, as 0001. Facts are only added.

-- Decisions about workers, by administrators or by the farm itself: active, drained, quarantined,
-- revoked. The newest row of a worker holds; a worker without one is active.
CREATE TABLE worker_states (
    id     BIGINT PRIMARY KEY,
    worker TEXT NOT NULL,
    state  TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_us  BIGINT NOT NULL
);
CREATE INDEX worker_states_worker ON worker_states (worker, id);

-- Tokens that make a host a worker, once. Only the digest of the secret is kept. arches is a JSON
-- list of what the worker may build for; empty for anything.
CREATE TABLE invitations (
    digest     TEXT PRIMARY KEY,
    worker     TEXT NOT NULL,
    arches     TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    expires_us BIGINT NOT NULL
);

-- Invitations that were used, with the digest of the key that came with it and the certificate
-- that was given for it.
CREATE TABLE enrolments (
    invitation  TEXT PRIMARY KEY,
    id          BIGINT NOT NULL,
    worker      TEXT NOT NULL,
    arches      TEXT NOT NULL,
    key_digest  TEXT NOT NULL,
    certificate TEXT NOT NULL,
    at_us       BIGINT NOT NULL
);
CREATE INDEX enrolments_worker ON enrolments (worker, id);

-- Certificates of workers by the SHA-256 of their DER. One that is not here is nobody's.
CREATE TABLE worker_certificates (
    fingerprint TEXT PRIMARY KEY,
    worker      TEXT NOT NULL,
    serial      TEXT NOT NULL,
    pem         TEXT NOT NULL,
    issued_us   BIGINT NOT NULL,
    ends_us     BIGINT NOT NULL
);
CREATE INDEX worker_certificates_worker ON worker_certificates (worker, issued_us);

-- Certificates that do not count any more, before their time.
CREATE TABLE certificate_ends (
    fingerprint TEXT PRIMARY KEY,
    reason      TEXT NOT NULL,
    at_us       BIGINT NOT NULL
);

-- Result files that an attempt has announced for upload. Only these can be its results.
CREATE TABLE uploads (
    attempt BIGINT NOT NULL,
    digest  TEXT NOT NULL,
    size    BIGINT NOT NULL,
    at_us   BIGINT NOT NULL,
    PRIMARY KEY (attempt, digest)
);

-- One sequence orders decisions, enrolments and certificates: whoever writes one holds it.
INSERT INTO counters (name, value) VALUES ('fleet', 0);
