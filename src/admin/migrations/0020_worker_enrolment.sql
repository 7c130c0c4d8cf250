-- The enrolment of a worker. The worker's first heartbeat sets a null field, and the fleet object stores the value.
ALTER TABLE workers ADD COLUMN url TEXT;
ALTER TABLE workers ADD COLUMN pools TEXT NOT NULL DEFAULT '["latency","throughput"]';
ALTER TABLE workers ADD COLUMN models TEXT;
ALTER TABLE workers ADD COLUMN slots_max INTEGER;
-- Incremented with each change of the row. The fleet object keeps the highest.
ALTER TABLE workers ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;
