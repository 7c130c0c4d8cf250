/** The tables of alerts, in a tenant object and in the operators' object. */
export const alertSchema: readonly string[] = [
  `CREATE TABLE alerts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    alert_id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    at INTEGER NOT NULL,
    data TEXT NOT NULL,
    forwarded INTEGER NOT NULL
  )`,
  'CREATE INDEX alerts_to_forward ON alerts (seq) WHERE forwarded = 0',
  `CREATE TABLE alert_endpoints (
    endpoint_id TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    types TEXT,
    created_at INTEGER NOT NULL,
    secret_version INTEGER NOT NULL,
    previous_version INTEGER,
    previous_until INTEGER,
    disabled_at INTEGER,
    failures INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    last_fault TEXT
  ) WITHOUT ROWID`,
  `CREATE TABLE alert_deliveries (
    endpoint_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    ended_at INTEGER,
    last_fault TEXT,
    PRIMARY KEY (endpoint_id, seq)
  ) WITHOUT ROWID`,
  `CREATE INDEX alert_deliveries_due ON alert_deliveries (endpoint_id, next_at) WHERE state = 'due'`,
  `CREATE TABLE alert_marks (
    subject TEXT PRIMARY KEY,
    window INTEGER NOT NULL,
    limit_nano INTEGER NOT NULL,
    levels INTEGER NOT NULL
  ) WITHOUT ROWID`,
]
