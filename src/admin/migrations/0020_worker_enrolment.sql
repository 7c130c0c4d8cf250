-- What a worker may be. A null field was never named: the worker's first heartbeat names it, and the fleet object keeps it.
ALTER TABLE workers ADD COLUMN url TEXT;
ALTER TABLE workers ADD COLUMN pools TEXT NOT NULL DEFAULT '["latency","throughput"]';
ALTER TABLE workers ADD COLUMN models TEXT;
ALTER TABLE workers ADD COLUMN slots_max INTEGER;
-- Raised with each change of the row: the fleet object keeps the highest.
ALTER TABLE workers ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;
