-- Packages of a channel that are in none of its repositories, because no rule of the target names them
-- (published_repositories): an index that each publication brings up to date. since_us is when a publication
-- first left the package out.
CREATE TABLE unplaced_packages (
    target   TEXT   NOT NULL,
    channel  TEXT   NOT NULL,
    nevra    TEXT   NOT NULL,
    source   TEXT   NOT NULL,
    since_us BIGINT NOT NULL,
    PRIMARY KEY (target, channel, nevra)
);
-- For the packages of a build.
CREATE INDEX unplaced_packages_nevra ON unplaced_packages (target, nevra);
