-- Each tenant's customer at the payment provider. `mode` is live or test: neither knows the other's customers.
CREATE TABLE billing_customers (
  tenant_id TEXT NOT NULL,
  provider TEXT NOT NULL,
  mode TEXT NOT NULL,
  customer_id TEXT NOT NULL,
  PRIMARY KEY (tenant_id, provider, mode)
);
