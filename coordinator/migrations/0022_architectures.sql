-- What a spec says on each architecture (rpmspec --target): a JSON object by rpm's target. Empty of
-- SRPMs from before this was asked: then what their header says counts for all architectures.
ALTER TABLE srpms ADD COLUMN terms TEXT NOT NULL DEFAULT '{}';

-- What whoever looks at a build should know when all of it is accepted, as differences between
-- packages of no architecture that are no reason to refuse them.
CREATE TABLE build_notes (
    build    BIGINT NOT NULL,
    position BIGINT NOT NULL,
    note     TEXT NOT NULL,
    PRIMARY KEY (build, position)
);

-- Packages of a channel's newest revision whose requirement nobody provides on an architecture: an
-- index that each publication makes anew. arch is empty when nobody provides it on any.
CREATE TABLE lacking_packages (
    target      TEXT NOT NULL,
    channel     TEXT NOT NULL,
    nevra       TEXT NOT NULL,
    arch        TEXT NOT NULL,
    requirement TEXT NOT NULL,
    PRIMARY KEY (target, channel, nevra, arch)
);
