-- A build may make a file that an earlier one made already: which one that was is asked by digest.
CREATE INDEX packages_digest ON packages (digest);
