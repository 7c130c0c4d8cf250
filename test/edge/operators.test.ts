/** Operator keys and their bounds, the audit log's filters and files, unknown tenants, and the words of refusals. */
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { readFields } from '../../backends/model/field-fault.ts'
import { routes } from '../../src/routes.ts'
import { type Answer, firstKey, openTenant, operate, send } from './client.ts'
import { fetchGateway } from './gateway.ts'

const minuteMs = 60_000
const snakeOf = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
/** A field by its name in either convention. */
const field = (body: Record<string, unknown>, name: string) => body[snakeOf(name)] ?? body[name]

async function makeOperator(scopes: string[], more: object = {}, by = firstKey) {
  const { status, body } = await send('POST', '/admin/operators', { name: 'made', scopes, ...more }, by)
  return { status, body, keyId: String(field(body, 'keyId')), key: String(field(body, 'operatorKey')) }
}

describe('operator keys', () => {
  it('[ADN40] an operator key is renamed, gets other scopes and another expiry, and rotates with an overlap', async () => {
    const made = await makeOperator(['tenants:read'])
    const path = `/admin/operators/${made.keyId}`
    const reads = (key: string) => send('GET', '/admin/tenants', undefined, key).then(({ status }) => status)
    const audits = (key: string) => send('GET', '/admin/audit', undefined, key).then(({ status }) => status)
    expect([await reads(made.key), await audits(made.key)]).toEqual([200, 403])
    expect(await operate('PATCH', path, { name: 'auditor', scopes: ['audit:read'] })).toMatchObject({ name: 'auditor' })
    expect([await reads(made.key), await audits(made.key)]).toEqual([403, 200])
    const rotated = await operate('POST', `${path}/rotate`, { overlap_seconds: 60 })
    const fresh = String(field(rotated, 'operatorKey'))
    expect([await audits(made.key), await audits(fresh)]).toEqual([200, 200])
    await env.DB.prepare('UPDATE operator_keys SET previous_until = 1 WHERE key_id = ?').bind(made.keyId).run()
    expect([await audits(made.key), await audits(fresh)]).toEqual([401, 200])
    await operate('PATCH', path, { expires_at: Date.now() + minuteMs })
    expect(await audits(fresh)).toBe(200)
    await env.DB.prepare('UPDATE operator_keys SET expires_at = 1 WHERE key_id = ?').bind(made.keyId).run()
    expect(await audits(fresh)).toBe(401)
    const again = String(field(await operate('POST', `${path}/rotate`), 'operatorKey'))
    await operate('PATCH', path, { expires_at: null })
    expect([await audits(fresh), await audits(again)]).toEqual([401, 200])
    await operate('DELETE', path)
    expect(await audits(again)).toBe(401)
    for (const change of [send('PATCH', path, { name: 'x' }), send('POST', `${path}/rotate`, {})])
      expect(await change).toMatchObject({ status: 409 })
    expect(await send('PATCH', path, {})).toMatchObject({ status: 400 })
    const { results } = await env.DB.prepare('SELECT * FROM audit WHERE target = ?').bind(made.keyId).all()
    expect(results.length).toBeGreaterThan(5)
    for (const each of [made.key, fresh, again]) expect(JSON.stringify(results)).not.toContain(each.slice(-40))
  })

  it('[ADN41] a key neither creates, changes, rotates nor revokes a wider key, and grants no later expiry than its own', async () => {
    const soon = Date.now() + 10 * minuteMs
    const narrow = (await makeOperator(['operators:write', 'tenants:read'], { expires_at: soon })).key
    const wide = await makeOperator(['operators:write', 'money:write'])
    const path = `/admin/operators/${wide.keyId}`
    const before = await env.DB.prepare('SELECT * FROM operator_keys WHERE key_id = ?').bind(wide.keyId).first()
    const attempts: [string, string, object?][] = [
      ['DELETE', path],
      ['POST', `${path}/rotate`, {}],
      ['PATCH', path, { name: 'mine' }],
      ['PATCH', path, { scopes: ['tenants:read'] }],
      ['PATCH', path, { expires_at: soon }],
    ]
    for (const [method, at, body] of attempts)
      expect(await send(method, at, body, narrow), `${method} ${at}`).toMatchObject({ status: 403 })
    expect(await env.DB.prepare('SELECT * FROM operator_keys WHERE key_id = ?').bind(wide.keyId).first()).toEqual(
      before,
    )

    const child = await makeOperator(['tenants:read'], { expires_at: soon }, narrow)
    expect(child.status).toBe(201)
    const at = `/admin/operators/${child.keyId}`
    const refused: [Promise<Answer | { status: number; body: unknown }>, string][] = [
      [makeOperator(['tenants:write'], { expires_at: soon }, narrow), 'scopes'],
      [makeOperator(['tenants:read'], {}, narrow), 'expires'],
      [makeOperator(['tenants:read'], { expires_at: soon + 1 }, narrow), 'expires'],
      [send('PATCH', at, { scopes: ['money:write'] }, narrow), 'scopes'],
      [send('PATCH', at, { expires_at: null }, narrow), 'expires'],
    ]
    for (const [answer, param] of refused)
      expect(await answer).toMatchObject({ status: 403, body: { param: expect.stringContaining(param) } })
    // The secret of a key that lasts longer would outlive the caller.
    const lasting = await makeOperator(['tenants:read'])
    expect(await send('POST', `/admin/operators/${lasting.keyId}/rotate`, {}, narrow)).toMatchObject({ status: 403 })
    expect(await send('PATCH', at, { name: 'ours' }, narrow)).toMatchObject({ status: 200, body: { name: 'ours' } })
    expect(await send('DELETE', at, undefined, narrow)).toMatchObject({ status: 200 })
  })
})

describe('the audit log', () => {
  const rowsOf = async (query: string) =>
    (await operate('GET', `/admin/audit?${query}`)).data as Record<string, unknown>[]

  it('[ADN42] the log is filtered by actor, action, tenant, target and time, and has the address of the actor', async () => {
    for (const id of ['auda', 'audb']) await openTenant(id)
    const made = await makeOperator(['tenants:write'])
    const from = Date.now()
    const change = (tenantId: string, key: string, address: string) =>
      fetchGateway(`https://gateway.test/admin/tenants/${tenantId}`, {
        method: 'PATCH',
        headers: {
          ...{ authorization: `Bearer ${key}`, 'content-type': 'application/json' },
          'cf-connecting-ip': address,
        },
        body: '{"name":"new"}',
      }).then((response) => response.text())
    await change('auda', made.key, '192.0.2.7')
    await change('audb', firstKey, '2001:db8::7')
    const actor = `operator:${made.keyId}`
    expect(await rowsOf(`actor=${actor}`)).toMatchObject([{ actor, address: '192.0.2.7', target: 'auda', status: 200 }])
    const action = encodeURIComponent('PATCH /admin/tenants/:tenantId')
    expect((await rowsOf(`action=${action}&from=${from}`)).map(({ target }) => target)).toEqual(['audb', 'auda'])
    expect(await rowsOf(`action=${action}&target=audb`)).toMatchObject([{ address: '2001:db8::7' }])
    expect(await rowsOf(`actor=operator:first&tenant_id=auda&from=${from}`)).toEqual([])
    expect(await rowsOf(`from=2001-01-01&to=2001-01-02`)).toEqual([])
    const day = new Date(from).toISOString().slice(0, 10)
    expect((await rowsOf(`from=${day}&to=${day}`)).length).toBeGreaterThan(2)
    for (const query of [
      'from=2026-02-30',
      'to=never',
      'from=1764000000',
      'actor=',
      'format=xml',
      'from=2026-02-02&to=2026-02-01',
    ])
      expect(await send('GET', `/admin/audit?${query}`), query).toMatchObject({
        status: 400,
        body: { param: query.split('=')[0] },
      })
    const plan = (column: string) =>
      env.DB.prepare(
        `EXPLAIN QUERY PLAN SELECT * FROM audit WHERE seq < 9 AND ${column} = 'x' ORDER BY seq DESC LIMIT 9`,
      )
        .first<{ detail: string }>()
        .then((row) => row?.detail)
    for (const column of ['actor', 'action', 'target', 'tenant_id']) expect(await plan(column)).toContain('USING INDEX')
  })

  it('[ADN43] all matching rows are one file, as JSON lines or as CSV that a spreadsheet does not run', async () => {
    await openTenant('file')
    const name = '=HYPERLINK("http://192.0.2.7","x")'
    await env.DB.batch(
      Array.from({ length: 1_203 }, (_, index) =>
        env.DB.prepare(
          `INSERT INTO audit (request_id, at, actor, actor_name, action, tenant_id, target, status)
            VALUES (?, ?, 'operator:file', ?, 'POST /x', 'file', ?, 200)`,
        ).bind(`file-${index}`, index, name, index % 2 ? '@SUM(1)' : '-1+cmd|x'),
      ),
    )
    const jsonl = await send('GET', '/admin/audit?actor=operator:file&format=jsonl&limit=1')
    const lines = jsonl.text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(jsonl.headers.get('content-type')).toBe('application/x-ndjson')
    expect(lines.length).toBe(1_203)
    expect(new Set(lines.map(({ seq }) => seq)).size).toBe(1_203)
    const csv = await send('GET', '/admin/audit?actor=operator:file&format=csv')
    expect(csv.headers.get('content-disposition')).toBe('attachment; filename="audit.csv"')
    const [head, ...rows] = csv.text.trimEnd().split('\r\n')
    expect(head).toBe('seq,at,request_id,actor,actor_name,address,action,tenant_id,target,status,before,after')
    expect(rows.length).toBe(1_203)
    for (const row of rows) {
      expect(row).toContain(`"'=HYPERLINK(""http://192.0.2.7"",""x"")"`)
      expect(row).toMatch(/,'(@SUM\(1\)|-1\+cmd\|x),200,,$/)
    }
    expect((await send('GET', '/admin/audit?actor=operator:absent&format=csv')).text).toBe(`${head}\r\n`)
  })

  it('[ADN44] failed sign-ins are counted by address and hour, and too many from one address get 429', async () => {
    const forged = async (key: string, address: string) => {
      const headers = { authorization: `Bearer ${key}`, 'cf-connecting-ip': address }
      const response = await fetchGateway('https://gateway.test/admin/tenants', { headers })
      await response.text()
      return response.status
    }
    const made = await makeOperator(['tenants:read'])
    await operate('DELETE', `/admin/operators/${made.keyId}`)
    const statuses: number[] = []
    for (let index = 0; index < 35; index++)
      statuses.push(await forged(index % 2 ? made.key : 'tmop_guess', '203.0.113.5'))
    expect(statuses.slice(0, 30)).toEqual(Array(30).fill(401))
    expect(statuses.slice(30)).toEqual(Array(5).fill(429))
    expect(await forged('tmop_guess', '203.0.113.6')).toBe(401)
    // A valid key from the same address is served.
    expect(await forged(firstKey, '203.0.113.5')).toBe(200)
    const rows = () => rowsOf(`action=${encodeURIComponent('failed sign-in')}`)
    const of = async (address: string) => (await rows()).filter((row) => row.address === address)
    await expect.poll(() => of('203.0.113.5'), { timeout: 10_000 }).toHaveLength(1)
    expect(await of('203.0.113.5')).toMatchObject([{ actor: 'unknown', status: 401, after: { times: 35 } }])
  })
})

describe('members', () => {
  it('[ADN48] an e-mail address in another case is the same member, and no member begins like a formula', async () => {
    await openTenant('memb')
    const path = '/admin/tenants/memb/members'
    await operate('POST', path, { member: 'Ada@Example.COM', role: 'owner' })
    expect(await send('POST', path, { member: 'ada@example.com', role: 'owner' })).toMatchObject({ status: 409 })
    await operate('POST', path, { member: 'Id-A', role: 'owner' })
    expect(await operate('PATCH', `${path}/ADA@example.com`, { role: 'viewer' })).toEqual({
      member: 'ada@example.com',
      role: 'viewer',
    })
    expect((await operate('GET', path)).data.map(({ member }: { member: string }) => member)).toEqual([
      'Id-A',
      'ada@example.com',
    ])
    expect(await operate('DELETE', `${path}/adA@example.com`)).toEqual({ removed: true })
    for (const member of ['=cmd|calc!A1', '+1', '-x@example.com', '@a'])
      expect(await send('POST', path, { member, role: 'viewer' }), member).toMatchObject({
        status: 400,
        body: { param: 'member' },
      })
  })
})

describe('tenants and words', () => {
  /** A path of the route with values of the right form. */
  const filled = (path: string, tenantId: string) =>
    path.replace(/\{(\w+)\}/g, (_, name: string) =>
      name === 'tenantId'
        ? tenantId
        : name === 'keyId' && path.includes('operators')
          ? 'a'.repeat(16)
          : name === 'period'
            ? '2026-01'
            : 'none',
    )

  it('[ADN45] a tenant that does not exist is 404 by its name on every route with a tenant id, before the body is read', async () => {
    const named = routes.filter(({ path }) => path.includes('{tenantId}'))
    expect(named.length).toBeGreaterThan(20)
    for (const { method, path, id } of named) {
      const at = filled(path, 'ghost')
      const body = method === 'get' || method === 'delete' ? undefined : {}
      const answer = await send(method.toUpperCase(), at, body)
      if (id === 'restoreTenant') continue
      expect([answer.status, answer.body?.code], `${method} ${path}: ${answer.text.slice(0, 200)}`).toEqual([
        404,
        'not_found',
      ])
      expect(answer.body.param, `${method} ${path}`).toMatch(/^tenant(Id|_id)$/)
    }
    expect(await send('GET', '/admin/requests/none?tenant_id=ghost')).toMatchObject({ status: 404 })
  })

  it('[ADN46] no refusal of a body or query has the words of the schema library', () => {
    const junk = [null, 0, -1, 1.5, 1e300, '', 'x'.repeat(5_000), '\u0000', {}, [], [[]], true, { a: 1 }, ['x'], [{}]]
    const raw =
      /\b(expected|received|invalid input|too (small|big)|unrecognized|zod|invalid (string|option|type)|NaN)\b/i
    let messages = 0
    for (const { id, body, query, params = {} } of routes) {
      for (const schema of [body, query, ...Object.values(params)].filter((each) => each !== undefined)) {
        for (const value of spoiled(schema, junk)) {
          const read = readFields(schema, value)
          if (read.ok) continue
          messages += 1
          expect(read.fault.message, `${id}: ${JSON.stringify(value).slice(0, 200)}`).not.toMatch(raw)
          expect(read.fault.message, id).toMatch(/[.!]$|[a-z0-9-]$/)
        }
      }
    }
    expect(messages).toBeGreaterThan(2_000)
  })
})

type Json = Record<string, unknown>

/** The schema's example with one value replaced at each place, for each piece of junk. */
function spoiled(schema: z.ZodType, junk: readonly unknown[]): unknown[] {
  const json = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any', reused: 'inline' }) as Json
  const sample = sampleOf(json, 0)
  return [...junk, ...places(sample).flatMap((place) => junk.map((value) => replaced(sample, place, value)))]
}

function sampleOf(schema: Json, depth: number): unknown {
  const [example] = (schema.examples as unknown[] | undefined) ?? []
  if (example !== undefined && (typeof example !== 'object' || example === null)) return example
  const branch = ((schema.anyOf ?? schema.oneOf) as Json[] | undefined)?.[0]
  if (branch) return sampleOf(branch, depth)
  if (schema.const !== undefined) return schema.const
  if (Array.isArray(schema.enum)) return schema.enum[0]
  if (schema.type === 'array') return depth > 5 ? [] : [sampleOf((schema.items as Json | undefined) ?? {}, depth + 1)]
  if (schema.type === 'object') {
    const properties = Object.entries((schema.properties ?? {}) as Record<string, Json>)
    return depth > 5 ? {} : Object.fromEntries(properties.map(([name, each]) => [name, sampleOf(each, depth + 1)]))
  }
  return schema.type === 'integer' || schema.type === 'number' ? 1 : 'abcd'
}

/** At most 60 paths into a value. */
function places(value: unknown, path: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== 'object' || value === null) return path.length > 0 ? [path] : []
  const inner = Object.entries(value).flatMap(([key, each]) =>
    places(each, [...path, Array.isArray(value) ? Number(key) : key]),
  )
  return [...(path.length > 0 ? [path] : []), ...inner].slice(0, 60)
}

function replaced(value: unknown, [key, ...rest]: (string | number)[], leaf: unknown): unknown {
  if (key === undefined) return leaf
  const copy = (Array.isArray(value) ? [...value] : { ...(value as Json) }) as Record<string | number, unknown>
  copy[key] = replaced(copy[key], rest, leaf)
  return copy
}
