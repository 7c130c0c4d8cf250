-- Usage of each tenant by day in UTC, copied from the tenant objects every quarter of an hour. Reports over all tenants
-- read it, never single requests. Corrections have the outcome 'correction' and count as no request.
CREATE TABLE usage_days (
  day INTEGER NOT NULL,
  tenant_id TEXT NOT NULL,
  model TEXT NOT NULL,
  pool TEXT NOT NULL,
  effort TEXT NOT NULL,
  outcome TEXT NOT NULL,
  requests INTEGER NOT NULL,
  prompt_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  reasoning_tokens INTEGER NOT NULL,
  cost_nano INTEGER NOT NULL,
  estimated INTEGER NOT NULL,
  PRIMARY KEY (day, tenant_id, model, pool, effort, outcome)
) WITHOUT ROWID;
