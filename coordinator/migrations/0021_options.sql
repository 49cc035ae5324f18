-- Options of single builds, as JSON (rpmfarm_core::options); none for a build without any.
CREATE TABLE build_options (
    build   BIGINT PRIMARY KEY,
    options TEXT NOT NULL
);

-- Files that a failed attempt left and that its worker kept: config.log and the like. path is below
-- the build directory.
CREATE TABLE kept_files (
    attempt BIGINT NOT NULL,
    path    TEXT NOT NULL,
    digest  TEXT NOT NULL,
    size    BIGINT NOT NULL,
    PRIMARY KEY (attempt, path)
);
