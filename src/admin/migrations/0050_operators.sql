-- The secret before the last rotation, accepted until `previous_until`.
ALTER TABLE operator_keys ADD COLUMN previous_hash TEXT;
ALTER TABLE operator_keys ADD COLUMN previous_until INTEGER;
ALTER TABLE operator_keys ADD COLUMN rotated_at INTEGER;

-- IP address of the caller; null if it was unknown.
ALTER TABLE audit ADD COLUMN address TEXT;
CREATE INDEX audit_of_actor ON audit (actor, seq);
CREATE INDEX audit_of_action ON audit (action, seq);
CREATE INDEX audit_of_target ON audit (target, seq);
CREATE INDEX audit_by_time ON audit (at);
