-- Receipts that the edge refused, for the operator to correct, settle or dismiss. Bounded per worker and in total.
CREATE TABLE refused_receipts (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  -- The worker that signed it. The other ids come from the receipt and may be false.
  worker_id TEXT NOT NULL,
  dispatch_id TEXT NOT NULL,
  tenant_id TEXT,
  request_id TEXT,
  reason TEXT NOT NULL,
  -- The signed JSON.
  receipt TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'refused' CHECK (state IN ('refused', 'settled')),
  first_at INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  -- How often the worker sent it.
  times INTEGER NOT NULL DEFAULT 1,
  UNIQUE (worker_id, dispatch_id)
);

CREATE INDEX refused_receipts_by_tenant ON refused_receipts (tenant_id, seq);
CREATE INDEX refused_receipts_by_request ON refused_receipts (request_id, seq);
CREATE INDEX refused_receipts_by_dispatch ON refused_receipts (dispatch_id);
