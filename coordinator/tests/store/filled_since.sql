-- Rows of the tables that came after the keys, beside those of filled.sql.
INSERT INTO channel_packages (target, channel, nevra, since_revision, until_revision, digest, source, excluded)
SELECT p.target, 'testing', p.nevra, p.build, CASE WHEN p.build % 2 = 0 THEN p.build + 3 ELSE 0 END,
    's' || p.digest, p.nevra, ''
FROM packages p;
INSERT INTO channel_heads (target, channel, revision)
SELECT target, channel, MAX(revision) FROM revisions GROUP BY target, channel;
INSERT INTO blob_proofs (digest, inode, size, mtime_ns, at_us)
SELECT DISTINCT signed_digest, 1, 1, 1, 16 FROM signatures;
