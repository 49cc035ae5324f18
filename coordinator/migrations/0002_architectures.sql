-- The architectures that a build was asked for; none for all of its target's.
CREATE TABLE build_arches (
    build BIGINT NOT NULL,
    arch  TEXT NOT NULL,
    PRIMARY KEY (build, arch)
);

-- What accepted attempts of a build with several architectures made. Their packages are the
-- build's (table packages) from the moment when all its architectures are accepted.
-- content describes a package of no architecture, for comparing; empty for others.
CREATE TABLE results (
    task     BIGINT NOT NULL,
    nevra    TEXT NOT NULL,
    build    BIGINT NOT NULL,
    arch     TEXT NOT NULL,
    digest   TEXT NOT NULL,
    size     BIGINT NOT NULL,
    repodata TEXT NOT NULL,
    content  TEXT NOT NULL,
    PRIMARY KEY (task, nevra)
);
CREATE INDEX results_build ON results (build);
