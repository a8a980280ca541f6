-- Version 3 of a run's store: what is asked of a long run is looked up, not searched for.
-- cell_key: equal for genomes that are written alike up to names and order; NULL where an older version wrote the trial.
-- standing: by what the trial is ranked; NULL for what has no place among the results (STANDING in store/writing.py).

ALTER TABLE trials ADD COLUMN cell_key TEXT;
ALTER TABLE trials ADD COLUMN standing REAL;

UPDATE trials SET standing = (
    SELECT CASE WHEN score < 9e999 THEN score END FROM rungs
    WHERE rungs.trial = trials.number AND checkpoint IS NOT NULL ORDER BY rung DESC LIMIT 1
) WHERE status IN ('completed', 'stopped') AND origin <> 'supernet' AND NOT origin GLOB 'supernet[:+@]*';

CREATE INDEX trials_cell_key ON trials (cell_key);
CREATE INDEX trials_standing ON trials (standing, number) WHERE standing IS NOT NULL;
CREATE INDEX trials_status ON trials (status, failure_kind);
CREATE INDEX trials_answered ON trials (duplicate_of) WHERE duplicate_of IS NOT NULL;
CREATE INDEX trials_origin ON trials (origin) WHERE substr(origin, 1, 8) IN ('baseline', 'imported', 'supernet');
CREATE INDEX parents_children ON parents (parent, trial) WHERE position = 0;
