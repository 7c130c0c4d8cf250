/** Writes a tenant's usage by day into the operator's database. */
import type { UsageDay } from '../store/usage-rows.ts'

/** One statement, which replaces each row. */
export async function writeUsageDays(db: D1Database, tenantId: string, rows: readonly UsageDay[]): Promise<void> {
  const fields = ['day', 'model', 'pool', 'effort', 'outcome', ...sums].map((name) => `value ->> '${name}'`)
  const [day, ...others] = fields
  const query = `INSERT INTO usage_days (day, tenant_id, model, pool, effort, outcome, ${sums.join(', ')})
    SELECT ${[day, '?', ...others].join(', ')} FROM json_each(?) WHERE true
    ON CONFLICT DO UPDATE SET ${sums.map((name) => `${name} = excluded.${name}`).join(', ')}`
  await db.prepare(query).bind(tenantId, JSON.stringify(rows)).run()
}

const sums = [
  'requests',
  'prompt_tokens',
  'cached_tokens',
  'output_tokens',
  'reasoning_tokens',
  'cost_nano',
  'estimated',
] as const
