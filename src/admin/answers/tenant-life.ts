/** Answers about the restore and the deletion of a tenant. */
import { z } from 'zod'
import { Count, Id, Time } from './fields.ts'

export const RestoredTenant = z
  .strictObject({
    tenantId: Id,
    exportedTenantId: Id.describe('The id of the tenant in the export.'),
    rows: Count.describe('Rows that were restored.'),
    keysRevoked: z.boolean().describe('Whether all keys were revoked, because they name another id.'),
    externalId: Id.nullable().describe('The external id of the export. Null if it has none, or another tenant has it.'),
  })
  .meta({ id: 'RestoredTenant' })

export const DeletedTenantAnswer = z
  .strictObject({
    tenantId: Id,
    deletedAt: Time,
    purgeAt: Time.describe('When the books are removed, in Unix milliseconds.'),
  })
  .meta({ id: 'DeletedTenant' })
