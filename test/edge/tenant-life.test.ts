/** A tenant's whole life over HTTP: creation with keys, external ids, export, restore, deletion. */
import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { describe, expect, it } from 'vitest'
import { ask, keyHash, makeReceipt, openKey, openTenant, operatorKey, send, use } from './client.ts'
import { fetchGateway } from './gateway.ts'

const dayMs = 86_400_000

/** The answer as it is on the wire. */
async function operate(method: string, path: string, body?: unknown) {
  const answer = await send(method, path, body)
  if (answer.status >= 400) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`)
  return answer.body
}

type Row = { store: string; table: string; row: Record<string, unknown> }

async function exported(tenantId: string, query = ''): Promise<string> {
  const answer = await send('GET', `/admin/tenants/${tenantId}/export${query}`)
  if (answer.status !== 200) throw new Error(answer.text)
  return answer.text
}

const rowsOf = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .slice(1, -1)
    .map((line) => JSON.parse(line) as Row)

async function restore(tenantId: string, text: string) {
  const response = await fetchGateway(`https://gateway.test/admin/tenants/${tenantId}/restore`, {
    method: 'POST',
    headers: { authorization: 'Bearer tmop_test', 'content-type': 'application/x-ndjson' },
    body: text,
  })
  return { status: response.status, body: JSON.parse(await response.text()) }
}

/** A tenant with requests, money, a member, a webhook, a rate card and a stored response. */
async function liveTenant(tenantId: string, more: Record<string, unknown> = {}) {
  await openTenant(tenantId, { name: `Name of ${tenantId}`, ...more })
  const key = await openKey(tenantId, { role: 'owner', name: 'Ada’s key' })
  for (let index = 0; index < 3; index++) await use(tenantId, key.keyId)
  const path = `/admin/tenants/${tenantId}`
  await operate('POST', `${path}/credits`, { id: 'c1', creditNano: 5_000, note: 'invoice' })
  await operate('POST', `${path}/corrections`, { id: 'r1', costNano: -700, note: 'refund' })
  await operate('POST', `${path}/members`, { member: `ada@${tenantId}.example`, role: 'owner' })
  await operate('PUT', `${path}/meter`, { url: 'https://meter.example.com/in' })
  const output = [{ id: `item_${tenantId}`, text: 'a secret answer' }]
  const responseId = `resp_${tenantId.padEnd(32, '0').slice(0, 32)}`
  const stored = { responseId, previousId: undefined, input: [{ text: 'a secret question' }], output, body: { id: 1 } }
  await env.RESPONSES.getByName(tenantId).keep(stored, Date.now() + dayMs)
  return { ...key, path, responseId }
}

describe('creation', () => {
  it('[ADN50] a tenant is created with its first keys, whole or not at all', async () => {
    const keys = [
      { name: 'boss', role: 'owner' },
      { name: 'app', limits: { requests_per_minute: 5 } },
    ]
    const made = await operate('POST', '/admin/tenants', { tenant_id: 'made', name: 'Made', credit_nano: 1e9, keys })
    expect(made.keys).toMatchObject([
      { name: 'boss', role: 'owner' },
      { name: 'app', limits: { requests_per_minute: 5 } },
    ])
    for (const key of made.keys) expect((await ask(key.api_key)).status).toBe(503)
    const audit = await env.DB.prepare("SELECT * FROM audit WHERE tenant_id = 'made'").all()
    for (const key of made.keys) expect(JSON.stringify(audit.results)).not.toContain(key.api_key.slice(-40))
    const late = { tenant_id: 'madb', name: 'x', credit_nano: 0, keys: [{ name: 'a' }, { name: 'b', expires_at: 1 }] }
    expect(await send('POST', '/admin/tenants', late)).toMatchObject({
      status: 400,
      body: { param: 'keys[1].expires_at' },
    })
    expect((await send('GET', '/admin/tenants/madb')).status).toBe(404)
    const writer = await operatorKey(['tenants:write'])
    const body = { tenant_id: 'madc', name: 'x', credit_nano: 0 }
    expect(await send('POST', '/admin/tenants', { ...body, keys: [{ name: 'a' }] }, writer)).toMatchObject({
      status: 403,
      body: { message: expect.stringContaining('keys:write') },
    })
    expect((await send('POST', '/admin/tenants', body, writer)).status).toBe(201)
  })

  it('[ADN51] an external id is unique, found, changed and removed', async () => {
    const externalId = 'crm:4f1c-Ü'.replace('Ü', 'x')
    await openTenant('exta', { external_id: externalId })
    await openTenant('extb')
    const found = (id: string) => operate('GET', `/admin/tenants?external_id=${encodeURIComponent(id)}`)
    expect((await found(externalId)).data).toMatchObject([{ tenant_id: 'exta', external_id: externalId }])
    expect((await found('crm')).data).toEqual([])
    expect(await operate('GET', '/admin/tenants/exta')).toMatchObject({ external_id: externalId })
    const taken = { status: 409, body: { param: 'external_id' } }
    expect(await send('PATCH', '/admin/tenants/extb', { external_id: externalId })).toMatchObject(taken)
    const third = { tenant_id: 'extc', name: 'x', credit_nano: 0, external_id: externalId }
    expect(await send('POST', '/admin/tenants', third)).toMatchObject(taken)
    expect((await send('GET', '/admin/tenants/extc')).status).toBe(404)
    await operate('PATCH', '/admin/tenants/exta', { name: 'same id' })
    expect(await operate('GET', '/admin/tenants/exta')).toMatchObject({ external_id: externalId, name: 'same id' })
    await operate('PATCH', '/admin/tenants/exta', { external_id: null })
    await operate('PATCH', '/admin/tenants/extb', { external_id: externalId })
    expect((await found(externalId)).data).toMatchObject([{ tenant_id: 'extb' }])
    for (const wrong of ['', 'a b', 'é', 'x'.repeat(129)])
      expect(await send('PATCH', '/admin/tenants/exta', { external_id: wrong })).toMatchObject({ status: 400 })
  })
})

describe('export and restore', () => {
  it('[ADN52] an export has every row of the tenant, keys by hash, and stored responses only if they are asked for', async () => {
    const { apiKey, keyId } = await liveTenant('expa')
    const bare = await exported('expa')
    const lines = bare.trimEnd().split('\n')
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      export: 'tramontane-tenant',
      tenantId: 'expa',
      responses: false,
    })
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ end: true, lines: lines.length - 1, unchanged: true })
    const rows = rowsOf(bare)
    const counts = await runInDurableObject(env.TENANT.getByName('expa'), (_, state) => {
      const names = state.storage.sql.exec(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '_cf_*' AND name <> 'schema_version'",
      )
      return Object.fromEntries(
        names.toArray().map(({ name }) => [name, state.storage.sql.exec(`SELECT count(*) AS n FROM ${name}`).one().n]),
      )
    })
    const seen = Object.fromEntries(
      Object.keys(counts).map((name) => [
        name,
        rows.filter((row) => row.store === 'tenant' && row.table === name).length,
      ]),
    )
    expect(seen).toEqual(counts)
    expect(counts).toMatchObject({ account: 1, api_keys: 1, entries: 6, bookings: 3, meter: 1, orders: 3 })
    expect(rows.filter(({ store }) => store === 'operator')).toMatchObject([{ row: { member: 'ada@expa.example' } }])
    expect(bare).not.toContain(apiKey.slice(-40))
    expect(bare).not.toContain('secret question')
    expect(rows.find(({ table }) => table === 'api_keys')?.row).toMatchObject({
      key_id: keyId,
      secret_hash: expect.stringMatching(/^[0-9a-f]{64}$/),
    })
    const whole = await exported('expa', '?responses=true')
    expect(whole).toContain('a secret question')
    expect(rowsOf(whole).filter(({ store }) => store === 'responses').length).toBe(5)
    const [row] = (await operate('GET', '/admin/audit?tenant_id=expa&limit=1')).data
    expect(row).toMatchObject({
      action: 'GET /admin/tenants/:tenantId/export',
      status: 200,
      after: { responses: true },
    })
  })

  it('[ADN53] a deleted tenant is restored under its id as it was: balances, chain, keys, members, webhook and responses', async () => {
    const { apiKey, path, responseId } = await liveTenant('resa', { external_id: 'ext-resa' })
    await operate('PATCH', path, { status: 'suspended', settings: { retentionDays: 17 } })
    const text = await exported('resa', '?responses=true')
    const before = await operate('GET', `${path}?totals=true`)
    const entries = await operate('GET', `${path}/entries?limit=1000`)
    expect(await restore('resa', text)).toMatchObject({ status: 409, body: { param: 'tenant_id' } })
    await operate('DELETE', `${path}?confirm=${encodeURIComponent('Name of resa')}`)
    expect(await restore('resa', text)).toMatchObject({
      status: 201,
      body: { tenant_id: 'resa', keys_revoked: false, external_id: 'ext-resa' },
    })
    expect(await operate('GET', `${path}?totals=true`)).toEqual(before)
    expect(await operate('GET', `${path}/entries?limit=1000`)).toEqual(entries)
    expect(await operate('GET', `${path}/verification`)).toMatchObject({ entries: 6, faults: [] })
    expect(await operate('GET', `${path}/meter`)).toMatchObject({ url: 'https://meter.example.com/in' })
    expect((await operate('GET', `${path}/members`)).data).toMatchObject([{ member: 'ada@resa.example' }])
    await operate('PATCH', path, { status: 'active' })
    expect((await ask(apiKey)).status).toBe(503)
    const kept = await runInDurableObject(env.RESPONSES.getByName('resa'), (_, state) =>
      state.storage.sql.exec('SELECT id FROM answers').toArray(),
    )
    expect(kept).toEqual([{ id: responseId }])
    // Repeating an order of before the export posts nothing.
    expect(await operate('POST', `${path}/credits`, { id: 'c1', credit_nano: 5_000, note: 'invoice' })).toMatchObject({
      repeated: true,
    })
  })

  it('[ADN54] under another id the books are the same, all keys are revoked, and no webhook gets events twice', async () => {
    await liveTenant('resb')
    const text = await exported('resb')
    expect(await restore('resc', text)).toMatchObject({
      status: 201,
      body: { tenant_id: 'resc', exported_tenant_id: 'resb', keys_revoked: true },
    })
    const { posted_nano, credit_nano } = await operate('GET', '/admin/tenants/resb')
    expect(await operate('GET', '/admin/tenants/resc')).toMatchObject({ tenant_id: 'resc', posted_nano, credit_nano })
    expect(await operate('GET', '/admin/tenants/resc/verification')).toMatchObject({ entries: 6, faults: [] })
    expect((await operate('GET', '/admin/tenants/resc/keys')).data).toMatchObject([{ status: 'revoked' }])
    expect((await send('GET', '/admin/tenants/resc/meter')).status).toBe(404)
    const { apiKey } = await openKey('resc')
    expect((await ask(apiKey)).status).toBe(503)
  })

  it('[ADN55] an export that is cut, changed, reordered or foreign restores nothing and names its first fault', async () => {
    await liveTenant('resd')
    const text = await exported('resd')
    const lines = text.trimEnd().split('\n')
    const joined = (some: string[]) => some.map((line) => `${line}\n`).join('')
    const swap = (index: number, line: string) => joined(lines.map((each, at) => (at === index ? line : each)))
    const entry = lines.findIndex((line) => line.includes('"table":"entries"'))
    /** With a digest of its own, so that only the chain can find the change. */
    const sealed = async (some: string[]) => {
      const body = joined(some.slice(0, -1))
      const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(body))
      const sha256 = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
      return body + JSON.stringify({ end: true, lines: some.length - 1, sha256, unchanged: true })
    }
    const edited = lines.map((line, at) => (at === entry + 1 ? line.replace(/"cost_nano":\d+/, '"cost_nano":1') : line))
    const without = lines.filter((_, at) => at !== entry + 2)
    const bad: [string, string, string][] = [
      ['nothing', '', 'body'],
      ['no JSON', 'x', 'line 1: is not JSON'],
      ['another head', swap(0, '{"export":"other"}'), 'line 1: is not the head of an export'],
      ['a newer format', swap(0, (lines[0] ?? '').replace('"format":1', '"format":2')), 'format must be 1'],
      ['cut', joined(lines.slice(0, -1)), 'ends before its last line'],
      ['cut in a line', text.slice(0, -20), 'is not JSON'],
      [
        'changed',
        swap(entry, (lines[entry] ?? '').replace('"cost_nano":', '"cost_nano":1')),
        'the digest does not match',
      ],
      ['more after the end', `${text}{}\n`, 'follows the end'],
      ['a changed entry', await sealed(edited), 'was changed'],
      ['a missing entry', await sealed(without), 'missing'],
      ['no account', await sealed(lines.filter((line) => !line.includes('"table":"account"'))), 'no account'],
      [
        'an unknown table',
        await sealed(lines.map((line) => line.replace('"table":"orders"', '"table":"sqlite_master"'))),
        'no table',
      ],
      ['an unknown column', await sealed(lines.map((line) => line.replace('"order_id":', '"x) --":'))), 'no column'],
      [
        'a row twice',
        await sealed(lines.flatMap((line, at) => (at === entry ? [line, line] : [line]))),
        'table entries',
      ],
      ['written meanwhile', text.replace('"unchanged":true', '"unchanged":false'), 'Suspend the tenant'],
    ]
    for (const [what, body, message] of bad) {
      const answer = await restore('rese', body)
      expect(answer, what).toMatchObject({ status: 400, body: { message: expect.stringContaining(message) } })
      expect((await send('GET', '/admin/tenants/rese')).status, what).toBe(404)
    }
    const newer = lines.map((line) => line.replace(/"schema":\d+/, '"schema":9999'))
    expect(await restore('rese', await sealed(newer))).toMatchObject({
      status: 409,
      body: { message: expect.stringContaining('newer version') },
    })
    expect(await restore('rese', text)).toMatchObject({ status: 201 })
    const limited = await operatorKey(['tenants:write', 'money:write'])
    expect(await send('POST', '/admin/tenants/resf/restore', {}, limited)).toMatchObject({ status: 403 })
  })

  it('[ADN56] a restore that was interrupted leaves no tenant, nothing can be created under it, and the next restore starts over', async () => {
    await liveTenant('resg')
    const text = await exported('resg')
    const stub = env.TENANT.getByName('resh')
    const schema = Number(/"schema":(\d+)/.exec(text)?.[1])
    expect(await stub.beginRestore({ tenantId: 'resh', schema })).toBeUndefined()
    expect(
      await stub.restoreRows(
        rowsOf(text)
          .filter(({ store }) => store === 'tenant')
          .slice(0, 4) as never,
      ),
    ).toBeUndefined()
    expect((await send('GET', '/admin/tenants/resh')).status).toBe(404)
    expect((await send('POST', '/admin/tenants', { tenant_id: 'resh', name: 'x', credit_nano: 0 })).status).toBe(404)
    expect(await restore('resh', text)).toMatchObject({ status: 201 })
    expect(await operate('GET', '/admin/tenants/resh/verification')).toMatchObject({ faults: [] })
  })
})

describe('deletion', () => {
  it('[ADN57] a deletion needs the name, refuses keys at once, erases content and people, and keeps the books', async () => {
    const { apiKey, keyId, path } = await liveTenant('dela', { external_id: 'ext-dela' })
    for (const query of ['', '?confirm=dela', '?confirm=name%20of%20dela'])
      expect(await send('DELETE', `${path}${query}`), query).toMatchObject({ status: 400, body: { param: 'confirm' } })
    expect((await ask(apiKey)).status).toBe(503)
    const stub = env.TENANT.getByName('dela')
    const order = { keyId, secretHash: await keyHash('dela', keyId), model: 'tramontane-tiny', unknownEffort: null }
    const admit = (requestId: string) => {
      const labels = { endUser: 'grace@dela.example', tags: ['team-grace'] }
      return stub.admit({ ...order, requestId, promptTokens: 1_000, outputTokens: 1_000, labels })
    }
    const receiptOf = (requestId: string) =>
      makeReceipt({ requestId, dispatchId: `${requestId}.1`, tenantId: 'dela', keyId })
    await admit('req_dela_done')
    await stub.settle([receiptOf('req_dela_done')])
    await admit('req_dela_runs')
    expect(await exported('dela')).toContain('grace@dela.example')
    const before = await operate('GET', path)
    const deleted = await operate('DELETE', `${path}?confirm=Name%20of%20dela&retention_days=30`)
    expect(deleted.purge_at - deleted.deleted_at).toBe(30 * dayMs)
    for (const call of [
      ask(apiKey),
      send('GET', '/v1/usage', undefined, apiKey),
      send('GET', '/v1/models', undefined, apiKey),
    ])
      expect((await call).status).toBe(401)
    expect(await operate('GET', path)).toMatchObject({
      ...{ status: 'deleted', name: 'dela', external_id: null, purge_at: deleted.purge_at },
      ...{ credit_nano: before.credit_nano, posted_nano: before.posted_nano },
    })
    expect((await operate('GET', '/admin/tenants?after=dekz&limit=1')).data).toMatchObject([
      { tenant_id: 'dela', status: 'deleted' },
    ])
    expect(await operate('GET', `${path}/verification`)).toMatchObject({ entries: 8, faults: [] })
    expect((await operate('GET', `${path}/members`)).data).toEqual([])
    // A request that ran meanwhile is still charged, without its labels.
    expect(await stub.settle([receiptOf('req_dela_runs')])).toEqual(['posted'])
    const rest = await exported('dela', '?responses=true')
    for (const text of ['Ada', 'ada@', 'grace', 'a secret', 'Name of dela']) expect(rest).not.toContain(text)
    expect(await operate('GET', `${path}/verification`)).toMatchObject({ entries: 9, faults: [] })
    const changes: [string, string, object?][] = [
      ['PATCH', path, { name: 'back' }],
      ['POST', `${path}/keys`, { name: 'back' }],
      ['POST', `${path}/keys/${keyId}/rotate`, {}],
      ['POST', `${path}/credits`, { id: 'late', credit_nano: 1, note: 'x' }],
      ['POST', `${path}/rate-cards`, { model: 'tramontane-tiny', input_nano: 1, cached_nano: 1, output_nano: 1 }],
    ]
    for (const [method, at, body] of changes)
      expect(await send(method, at, body), `${method} ${at}`).toMatchObject({
        status: 409,
        body: { message: expect.stringContaining('deleted') },
      })
    expect(await send('POST', '/admin/tenants', { tenant_id: 'dela', name: 'new', credit_nano: 0 })).toMatchObject({
      status: 409,
    })
    // A repeated deletion completes an interrupted one, and keeps its times.
    expect(await operate('DELETE', `${path}?confirm=anything`)).toEqual(deleted)
    // The id of a deleted tenant is not that of another tenant's export.
    await liveTenant('delb')
    expect(await restore('dela', await exported('delb'))).toMatchObject({ status: 409, body: { param: 'tenant_id' } })
  })

  it('[ADN58] the alarm removes the books after the retention, and the id stays taken', async () => {
    const { path } = await liveTenant('delc')
    await operate('DELETE', `${path}?confirm=Name%20of%20delc&retention_days=0`)
    const stub = env.TENANT.getByName('delc')
    const counted = () =>
      runInDurableObject(stub, (_, state) =>
        ['entries', 'bookings', 'usage_quarters', 'orders', 'api_keys', 'meter', 'rate_cards'].map(
          (table) => state.storage.sql.exec(`SELECT count(*) AS n FROM ${table}`).one().n,
        ),
      )
    expect((await counted())[0]).toBe(6)
    for (let run = 0; run < 3; run++) await runDurableObjectAlarm(stub)
    expect(await counted()).toEqual([0, 0, 0, 0, 0, 0, 0])
    expect(await operate('GET', `${path}/verification`)).toEqual({ entries: 0, faults: [] })
    expect(await operate('GET', path)).toMatchObject({ status: 'deleted' })
    expect(await send('POST', '/admin/tenants', { tenant_id: 'delc', name: 'x', credit_nano: 0 })).toMatchObject({
      status: 409,
    })
  })
})
