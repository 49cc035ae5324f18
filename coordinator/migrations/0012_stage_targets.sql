-- What a stage has to do, target by target: so many builds of one that nothing can be done for now
-- do not hide those of another. Empty in rows of a coordinator that is older than this.
ALTER TABLE stage_work ADD COLUMN target TEXT NOT NULL DEFAULT '';
UPDATE stage_work SET target = (SELECT b.target FROM builds b WHERE b.id = stage_work.build);
DROP INDEX stage_work_stage;
CREATE INDEX stage_work_target ON stage_work (stage, target, rank, build, task, due_us);
