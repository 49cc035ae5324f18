-- That a package was accepted, as the acceptor signed it: the newest of each file, for the signer.
CREATE TABLE signed_acceptances (
    target     TEXT NOT NULL,
    digest     TEXT NOT NULL,
    acceptance TEXT NOT NULL,
    signature  TEXT NOT NULL,
    PRIMARY KEY (target, digest)
);
