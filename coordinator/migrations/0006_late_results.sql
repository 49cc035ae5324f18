-- Results of attempts that had been taken from their worker before: known, never applied.
CREATE TABLE late_results (
    attempt BIGINT PRIMARY KEY,
    said    TEXT NOT NULL,
    at_us   BIGINT NOT NULL
);
