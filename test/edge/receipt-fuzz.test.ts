/**
 * Forged receipts of a worker with a valid key, mixed with honest traffic, on the real settlement and tenant objects.
 * FUZZ_RUNS sets the number of worlds, FUZZ_SEED repeats a seed.
 */
import { runInDurableObject } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Receipt } from '../../backends/wire/receipt.ts'
import { proofOf } from '../../src/auth/dispatch-proof.ts'
import { Secret } from '../../src/auth/secret.ts'
import { settings } from '../../src/config.ts'
import { settleReceipts } from '../../src/settlement/receipts.ts'
import { noLimits } from '../../src/tenant/limits/limits.ts'
import { TenantSettings } from '../../src/tenant/tenant-settings.ts'
import { sealBy } from './client.ts'

const runs = Number(env.FUZZ_RUNS || 25)
const tenants = ['one', 'two'] as const
const workers = ['good', 'evil'] as const
const rates = { inputNano: 150, cachedNano: 15, outputNano: 600 }
const tokens = { promptTokens: 100, outputTokens: 100 }
const boundNano = 75_000
const fleet = new Secret(env.FLEET_SECRET)

const number = fc.oneof(
  fc.integer({ min: -2, max: 210 }),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.constantFrom(-1, 0.5, 2 ** 53, 9_007_199_254_740_991, -9_007_199_254_740_991, 1e300),
)
const id = fc.oneof(
  fc.constantFrom('one', 'two', 'good', 'evil', 'k', '', 'x'.repeat(64), 'x\r\ny', '\u0000', '%2e%2e', 'café'),
  fc.string({ maxLength: 70 }),
)
const junk = fc.oneof(number, id, fc.constant(null), fc.constant([]), fc.constant({}))
const possible = fc.record({
  ...{ promptTokens: fc.nat(200), cachedTokens: fc.nat(50), outputTokens: fc.nat(200), reasoningTokens: fc.nat(50) },
})
const fields = {
  dispatchNumber: fc.oneof(fc.nat(40), fc.integer()),
  otherRequest: fc.nat(7),
  tenantId: fc.oneof(id, fc.constantFrom(...tenants)),
  keyId: id,
  model: fc.oneof(id, junk),
  pool: fc.oneof(fc.constantFrom('latency', 'throughput', 'hosted'), junk),
  effort: fc.oneof(fc.constantFrom('none', 'high'), junk),
  outcome: fc.oneof(fc.constantFrom('finished', 'aborted', 'failed'), junk),
  counts: fc.oneof(
    possible,
    fc.record({ promptTokens: number, cachedTokens: number, outputTokens: number, reasoningTokens: number }),
    junk,
  ),
  costNano: fc.oneof(number, junk),
  estimated: fc.oneof(fc.boolean(), junk),
  endedAt: fc.oneof(number, junk),
  terms: fc.oneof(
    fc.record({
      ...{ costNanoMax: fc.nat(1e9), promptTokensMax: fc.nat(1e9), outputTokensMax: fc.nat(1e9), issuedAt: number },
      rates: fc.record({ inputNano: fc.nat(1e9), cachedNano: fc.nat(1e9), outputNano: fc.nat(1e9) }),
    }),
    junk,
  ),
  proof: fc.oneof(fc.constant(undefined), fc.constant('p'.repeat(43)), id, junk),
  engine: junk,
}
/** A forger's changes to an honest receipt: a few fields, each to any value. */
const change = fc
  .tuple(fc.record(fields), fc.subarray(Object.keys(fields) as (keyof typeof fields)[], { minLength: 1, maxLength: 3 }))
  .map(([all, names]) => Object.fromEntries(names.map((name) => [name, all[name]])) as Partial<typeof all>)
const step = fc.oneof(
  fc.record({ kind: fc.constant('ask' as const), request: fc.nat(7) }),
  fc.record({ kind: fc.constant('void' as const), request: fc.nat(7) }),
  fc.record({ kind: fc.constant('raise' as const), request: fc.nat(7) }),
  // An honest receipt, or a replayed proof, with counts within its terms.
  fc.record({
    ...{ kind: fc.constant('receipt' as const), request: fc.nat(7), attempt: fc.integer({ min: 1, max: 3 }) },
    ...{ prompt: fc.nat(100), output: fc.nat(100), outcome: fc.constantFrom('finished', 'aborted', 'failed') },
  }),
  fc.record({ kind: fc.constant('forge' as const), request: fc.nat(7), changes: fc.array(change, { maxLength: 12 }) }),
)

describe('the ledger', () => {
  it(
    '[RCT8] forged receipts with a valid key never post more than a bound, and every tenant stays sound and served',
    async () => {
      let world = 0
      const seen = { worlds: 0, steps: 0, receipts: 0, done: 0, refused: 0 }
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), async (steps) => {
          world += 1
          await play(`w${world}`, steps, seen)
        }),
        {
          numRuns: runs,
          ...(env.FUZZ_SEED ? { seed: Number(env.FUZZ_SEED) } : { seed: 20_261_127 }),
          endOnFailure: runs > 100,
        },
      )
      if (runs > 25) console.log(`receipt fuzzer: ${JSON.stringify(seen)}`)
      expect(seen.refused).toBeGreaterThan(runs)
      expect(seen.done).toBeGreaterThan(runs / 2)
    },
    Math.max(60_000, runs * 2_000),
  )
})

type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never

async function play(world: string, steps: Step[], seen: Record<string, number>): Promise<void> {
  const limits = { ...noLimits, requestsPerMinute: 1_000, tokensPerMinute: 1_000_000 }
  const name = (tenant: string) => `${tenant}-${world}`
  const stub = (tenant: string) => env.TENANT.getByName(name(tenant))
  for (const tenant of tenants) {
    const tenantBody = { tenantId: name(tenant), name: tenant, creditNano: 10_000_000, models: ['tramontane-tiny'] }
    await stub(tenant).create({ ...tenantBody, limits, settings: TenantSettings.parse({}) })
    const key = { keyId: 'k', name: 'k', prefix: 'p', secretHash: 'hash', role: 'member' as const }
    await stub(tenant).addKey({ ...key, models: null, class: null, allowedIps: null, expiresAt: null, limits })
  }
  const bounds = new Map<string, number>()
  const ownerOf = (request: number) => tenants[request % 2] ?? 'one'
  const requestOf = (request: number) => `req_${world}_${request}`
  const admit = (tenant: string, requestId: string) =>
    stub(tenant).admit({
      ...{ requestId, keyId: 'k', secretHash: 'hash', model: 'tramontane-tiny', unknownEffort: null, ...tokens },
    })

  /** A receipt for a dispatch that the edge sent to this worker, with the edge's proof. */
  function dispatched(request: number, attempt: number, workerId: string): Receipt {
    const requestId = requestOf(request)
    const names = {
      ...{ requestId, dispatchId: `${requestId}.${attempt}`, tenantId: name(ownerOf(request)), keyId: 'k', workerId },
      ...{ model: 'tramontane-tiny', pool: 'latency' as const, effort: 'none' as const },
    }
    const costNanoMax = bounds.get(requestId) ?? boundNano
    const terms = { costNanoMax, promptTokensMax: 100, outputTokensMax: 100, rates, issuedAt: 1 }
    return {
      ...{ ...names, terms, proof: proofOf(fleet, { ...names, ...terms }) },
      ...{ outcome: 'finished', finishReason: 'stop', estimated: false, startedAt: 1, endedAt: 2, firstTokenMs: 1 },
      ...{ counts: { promptTokens: 100, cachedTokens: 0, outputTokens: 100, reasoningTokens: 0 }, engine: 'e' },
      costNano: Math.min(75_000, costNanoMax),
    }
  }

  async function deliver(receipts: unknown[], workerId: string): Promise<void> {
    if (receipts.length === 0) return
    const sealed = await Promise.all(receipts.map((receipt) => sealBy('receipt', receipt, workerId, 1)))
    const answer = await settleReceipts({ receipts: sealed }, env, await settings(env))
    expect(answer.done.length + answer.refused.length).toBe(receipts.length)
    seen.receipts = (seen.receipts ?? 0) + receipts.length
    seen.done = (seen.done ?? 0) + answer.done.length
    seen.refused = (seen.refused ?? 0) + answer.refused.length
  }

  for (const request of [0, 1, 2, 3]) {
    expect(await admit(ownerOf(request), requestOf(request))).toMatchObject({ ok: true, boundNano })
    bounds.set(requestOf(request), boundNano)
  }
  for (const each of steps) {
    seen.steps = (seen.steps ?? 0) + 1
    const requestId = requestOf(each.request)
    const tenant = stub(ownerOf(each.request))
    if (each.kind === 'ask') {
      if ((await admit(ownerOf(each.request), requestId)).ok) bounds.set(requestId, boundNano)
    } else if (each.kind === 'void') await tenant.void(requestId)
    else if (each.kind === 'raise') {
      const raise = { requestId, model: 'tramontane-tiny', promptTokens: 120, outputTokens: 100 }
      const raised = bounds.has(requestId) ? await tenant.readmit(raise) : undefined
      if (raised?.ok) bounds.set(requestId, raised.boundNano)
    } else if (each.kind === 'receipt') {
      const own = dispatched(each.request, each.attempt, workers[each.attempt % 2] ?? 'evil')
      const counts = { promptTokens: each.prompt, cachedTokens: 0, outputTokens: each.output, reasoningTokens: 0 }
      const cost = each.outcome === 'failed' ? 0 : each.prompt * rates.inputNano + each.output * rates.outputNano
      const receipt = { ...own, outcome: each.outcome, counts, costNano: Math.min(cost, own.terms.costNanoMax) }
      await deliver([receipt], own.workerId)
    } else {
      const forged = each.changes.map(({ dispatchNumber, otherRequest, ...fields }) => {
        const base = dispatched(each.request, 1, 'evil')
        const dispatchId = dispatchNumber === undefined ? base.dispatchId : `${base.requestId}.${dispatchNumber}`
        const renamed = otherRequest === undefined ? {} : { requestId: requestOf(otherRequest) }
        return { ...base, dispatchId, ...renamed, ...fields, workerId: 'evil' }
      })
      await deliver(forged, 'evil')
    }
  }
  for (const tenant of tenants) await judge(name(tenant), bounds)
  for (const tenant of tenants) expect(await admit(tenant, `req_${world}_last_${tenant}`)).toMatchObject({ ok: true })
  seen.worlds = (seen.worlds ?? 0) + 1
}

async function judge(tenantId: string, bounds: ReadonlyMap<string, number>): Promise<void> {
  const stub = env.TENANT.getByName(tenantId)
  const by = { kind: 'key', keyId: 'k', secretHash: 'hash' } as const
  const query = { from: null, to: null, bucket: 'all' as const, groupBy: [], where: {} }
  expect(await stub.usage(by, query)).toMatchObject({ ok: true })
  expect(await stub.limits(by)).toMatchObject({ ok: true })
  expect(await stub.verify()).toMatchObject({ faults: [] })
  const summary = await stub.summary(true)
  const posted = await runInDurableObject(stub, (_, state) =>
    state.storage.sql
      .exec(`SELECT request_id AS id, sum(cost_nano) AS nano FROM entries WHERE request_id IS NOT NULL GROUP BY 1`)
      .toArray()
      .map(({ id, nano }) => [String(id), Number(nano)] as const),
  )
  for (const [requestId, nano] of posted) expect(nano, requestId).toBeLessThanOrEqual(bounds.get(requestId) ?? 0)
  expect(summary?.postedNano).toBe(posted.reduce((sum, [, nano]) => sum + nano, 0))
}
