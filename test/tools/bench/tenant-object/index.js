/**
 * The tenant object under load, and for comparison the minimal durable object, which writes one row. It is hosted with
 * the edge's configuration: the object that writes one row takes the place of the pool object.
 */
import { DurableObject } from 'cloudflare:workers'
import { noLimits } from '../../../../src/tenant/limits/limits.ts'
import { TenantObject as Tenant } from '../../../../src/tenant/tenant-object.ts'

const model = 'm'
const secretHash = 'hash'
const keyId = (index) => `k${index}`

export class TenantObject extends Tenant {
  /** A tenant with this many keys and past requests, with the rows that settlement leaves. */
  seed({ rows, keys }) {
    const { sql } = this.ctx.storage
    this.create({
      ...{ tenantId: 'bench', name: 'bench', creditNano: 1e15, models: [model], limits: noLimits },
      settings: { effortUnknown: 'map', retentionDays: 90 },
    })
    const limits = { ...noLimits, requestsPerMinute: 1e9, tokensPerMinute: 1e9, concurrentMax: 1e6 }
    const key = { name: 'k', prefix: 'p', secretHash, role: 'member', models: null, limits, expiresAt: null }
    this.addKey({ ...key, keyId: keyId(0) })
    const copied = sql.exec('SELECT * FROM api_keys LIMIT 1').columnNames
    const columns = copied.map((name) => (name === 'key_id' ? `'k' || n` : name)).join(', ')
    sql.exec(`${series} INSERT INTO api_keys SELECT ${columns} FROM api_keys, series WHERE n > 0`, keys)
    // Past entries come before the account's first entry, and past ids before any id of today.
    for (let from = 0; from < rows; from += 50_000) {
      const count = Math.min(50_000, rows - from)
      sql.exec(
        `${series} INSERT INTO bookings SELECT printf('req_%032d', ?2 + n), 'k' || (n % ?3), 'posted', 1000, 19, ?2 + n, ?2 + n
          FROM series`,
        ...[count, from, keys],
      )
      sql.exec(
        `${series} INSERT INTO entries (seq, request_id, ref, kind, cost_nano, credit_nano, short_nano, prompt_tokens,
          cached_tokens, output_tokens, reasoning_tokens, estimated, at, hash, key_id, model, pool, effort, worker_id, outcome)
          SELECT ?2 + n - ?4, printf('req_%032d', ?2 + n), printf('req_%032d.1', ?2 + n), 'post', 600, 0, 0, 10, 0, 5, 0, 0,
          ?2 + n, printf('%064d', n), 'k' || (n % ?3), '${model}', 'latency', 'none', 'w', 'finished' FROM series`,
        ...[count, from, keys, rows],
      )
      sql.exec(
        `${series} INSERT OR IGNORE INTO usage_hours SELECT (?2 + n) / 100, 'k' || (n % ?3), '${model}', 'latency', 'none',
          'finished', 1, 10, 0, 5, 0, 600, 0 FROM series WHERE n % 10 = 0`,
        ...[count, from, keys],
      )
    }
    return this.ctx.storage.sql.databaseSize
  }
}

const series = 'WITH RECURSIVE series(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM series WHERE n + 1 < ?1)'

export class FleetObject extends DurableObject {
  constructor(state, env) {
    super(state, env)
    state.storage.sql.exec('CREATE TABLE IF NOT EXISTS rows (id TEXT PRIMARY KEY, at INTEGER) WITHOUT ROWID')
  }

  write(id) {
    this.ctx.storage.sql.exec('INSERT INTO rows VALUES (?, ?)', id, Date.now())
    return true
  }

  nothing() {
    return true
  }
}

export class ResponsesObject extends DurableObject {}

let serial = 0
const nextId = () => `req_${Date.now().toString(16).padStart(12, '0')}${String(serial++).padStart(20, '0')}`

const calls = {
  admit: (tenant, _row, keys) => {
    const requestId = nextId()
    const order = { requestId, keyId: keyId(serial % keys), secretHash, model, promptTokens: 10, outputTokens: 9 }
    return tenant.admit({ ...order, unknownEffort: null }).then((answer) => {
      if (!answer.ok) throw new Error(answer.message)
      return requestId
    })
  },
  row: (_tenant, row) => row.write(nextId()),
  nothing: (_tenant, row) => row.nothing(),
}

export default {
  async fetch(request, env) {
    const url = new URL(request.url)
    const { name, call, count, concurrency, rows, keys } = Object.fromEntries(url.searchParams)
    const tenant = env.TENANT.getByName(name)
    if (url.pathname === '/seed') return Response.json(await tenant.seed({ rows: Number(rows), keys: Number(keys) }))
    if (url.pathname === '/void') {
      const ids = await request.json()
      await Promise.all(ids.map((id) => tenant.void(id)))
      return Response.json(ids.length)
    }
    // This many callers at once, each with its next call as soon as its last is answered.
    const answers = []
    const latencyMs = []
    let left = Number(count)
    const caller = async () => {
      while (left-- > 0) {
        const startedAt = Date.now()
        answers.push((await calls[call](tenant, env.FLEET.getByName('row'), Number(keys))) ?? null)
        latencyMs.push(Date.now() - startedAt)
      }
    }
    const startedAt = Date.now()
    await Promise.all(Array.from({ length: Number(concurrency) }, caller))
    return Response.json({ answers, latencyMs, tookMs: Date.now() - startedAt })
  },
}
