/**
 * The format of a tenant's export: JSON lines.
 *
 *   head          names the tenant, the schema of its rows and the format
 *   {table, row}  one line per row: first of the operator's database, then of the tenant, then of the stored responses
 *   end           the number of lines before it and the SHA-256 of their bytes
 */
import { z } from 'zod'

export const exportFormat = 1

const SqlValueLine = z.union([z.string(), z.number(), z.null()])

export const ExportHead = z.strictObject({
  export: z.literal('tramontane-tenant'),
  format: z.literal(exportFormat),
  /** Number of statements of the tenant object's schema. */
  schema: z.int().min(1),
  tenantId: z.string(),
  name: z.string(),
  externalId: z.string().max(128).nullable(),
  planId: z.string().nullable(),
  exportedAt: z.int().min(0),
  responses: z.boolean(),
})
export type ExportHead = z.infer<typeof ExportHead>

export const ExportedRow = z.strictObject({
  store: z.enum(['operator', 'tenant', 'responses']),
  table: z.string().max(64),
  row: z.record(z.string().max(64), SqlValueLine),
})
export type ExportedRow = z.infer<typeof ExportedRow>

export const ExportEnd = z.strictObject({
  end: z.literal(true),
  lines: z.int().min(1),
  sha256: z.string(),
  /** Whether nothing was written during the export. */
  unchanged: z.boolean(),
})
export type ExportEnd = z.infer<typeof ExportEnd>

/** The most characters of one line: a piece of a stored response, escaped. */
export const lineCharactersMax = 4_000_000
