-- Data across tenants, for the operator. No request to a model reads or writes it.
-- A tenant's own data (keys, limits, money, usage) is in its tenant object, which is authoritative for duplicated fields.

CREATE TABLE tenants (
  tenant_id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('active', 'suspended')),
  plan_id TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX tenants_of_plan ON tenants (plan_id);

-- Members, by e-mail address or by their id in the operator's sign-in system.
CREATE TABLE members (
  tenant_id TEXT NOT NULL REFERENCES tenants (tenant_id),
  member TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member', 'viewer')),
  added_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, member)
) WITHOUT ROWID;

CREATE TABLE operator_keys (
  key_id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  prefix TEXT NOT NULL,
  -- SHA-256 of the secret. The key itself is never stored.
  secret_hash TEXT NOT NULL,
  scopes TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER
) WITHOUT ROWID;

CREATE TABLE plans (
  plan_id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  limits TEXT NOT NULL,
  settings TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Default rate cards of new tenants, in nano-dollars per token. Added, never changed.
CREATE TABLE rate_cards (
  model TEXT NOT NULL,
  effective_at INTEGER NOT NULL,
  input_nano INTEGER NOT NULL,
  cached_nano INTEGER NOT NULL,
  output_nano INTEGER NOT NULL,
  added_at INTEGER NOT NULL,
  PRIMARY KEY (model, effective_at)
) WITHOUT ROWID;

CREATE TABLE workers (
  worker_id TEXT PRIMARY KEY,
  -- The epoch of the newest key.
  epoch INTEGER NOT NULL,
  -- Keys up to this epoch are revoked; 0 when none is.
  epoch_revoked INTEGER NOT NULL DEFAULT 0,
  enrolled_at INTEGER NOT NULL,
  rotated_at INTEGER,
  revoked_at INTEGER
) WITHOUT ROWID;

-- Inserted before a change and completed after it. A row without a status is a change that was interrupted.
CREATE TABLE audit (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  request_id TEXT NOT NULL UNIQUE,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  actor_name TEXT NOT NULL,
  action TEXT NOT NULL,
  tenant_id TEXT,
  target TEXT,
  status INTEGER,
  before TEXT,
  after TEXT
);

CREATE INDEX audit_of_tenant ON audit (tenant_id, seq);
