-- The operator's own id of the tenant.
ALTER TABLE tenants ADD COLUMN external_id TEXT;
CREATE UNIQUE INDEX tenants_by_external_id ON tenants (external_id) WHERE external_id IS NOT NULL;
-- When the tenant was deleted. Its row stays, so that its id is not used again.
ALTER TABLE tenants ADD COLUMN deleted_at INTEGER;
