-- The same for tables that came with 0039 and later, which the schema of older versions does not have.

INSERT INTO pool_packages (target, nevra, build, source, superseded)
SELECT p.target, p.nevra, p.build, b.package, CASE WHEN p.build % 50 = 0 THEN 1 ELSE 0 END
FROM packages p JOIN builds b ON b.id = p.build;
INSERT INTO pool_changes (target, version, nevra)
SELECT target, build, nevra FROM pool_packages;
INSERT INTO pool_holds (target, batch, nevra)
SELECT p.target, b.batch, p.nevra FROM pool_packages p JOIN builds b ON b.id = p.build
WHERE b.id % 4 = 0;
INSERT INTO pool_states (target, version, since, seen)
SELECT target, changes, 0, changes FROM pools;
