-- A running attempt found requirements (dynamic_requires) that another build of its batch is about to
-- provide or to replace. The attempt was taken from its worker, and the task waits for its turn in the
-- batch again: locks up to this round do not count any more, the next one has a higher round.
CREATE TABLE postponements (
    task  BIGINT NOT NULL,
    round BIGINT NOT NULL,
    at_us BIGINT NOT NULL,
    PRIMARY KEY (task, round)
);
