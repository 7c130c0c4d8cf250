/**
 * Credit that tenants buy, with Stripe's own library and its signatures. Stripe's answers are those of its mock server
 * (stripe-mock), shortened.
 */
import { env } from 'cloudflare:workers'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { tenantField } from '../../src/billing/stripe-event.ts'
import { Stripe } from '../../src/billing/stripe-library.js'
import { openKey, openTenant, operate, send } from './client.ts'
import { fetchGateway } from './gateway.ts'

const cryptoProvider = Stripe.createSubtleCryptoProvider()
const centNano = 10_000_000

interface StripeCall {
  path: string
  form: Record<string, string>
  headers: Headers
}

/** Answers as Stripe does. A payment belongs to the tenant that its id ends with. */
function stripeServer(calls: StripeCall[] = []): StripeCall[] {
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init) => {
    const { pathname, hostname } = new URL(String(input))
    expect(hostname).toBe('api.stripe.com')
    const form = Object.fromEntries(new URLSearchParams(String(init?.body ?? '')))
    calls.push({ path: pathname, form, headers: new Headers(init?.headers) })
    const tenant = pathname.split('_').at(-1) ?? ''
    const known = tenant === 'foreign' ? {} : { [tenantField]: tenant }
    const answers: Record<string, object> = {
      '/v1/customers': { id: `cus_${form[`metadata[${tenantField}]`]}`, object: 'customer' },
      '/v1/checkout/sessions': {
        id: 'cs_test_1',
        object: 'checkout.session',
        url: 'https://checkout.stripe.com/c/pay/cs_test_1',
        expires_at: 1_795_900_000,
      },
      '/v1/billing_portal/sessions': {
        id: 'bps_1',
        object: 'billing_portal.session',
        url: 'https://billing.stripe.com/session/bps_1',
      },
    }
    const payment = pathname.startsWith('/v1/payment_intents/') && { object: 'payment_intent', metadata: known }
    return Response.json(answers[pathname] ?? (payment || { error: { type: 'invalid_request_error' } }), {
      status: answers[pathname] || payment ? 200 : 404,
    })
  })
  return calls
}

function paid(tenantId: string, change: Record<string, unknown> = {}, type = 'checkout.session.completed') {
  const session = {
    id: 'cs_test_1',
    object: 'checkout.session',
    mode: 'payment',
    payment_status: 'paid',
    payment_intent: `pi_1_${tenantId}`,
    client_reference_id: tenantId,
    metadata: { [tenantField]: tenantId },
    currency: 'usd',
    amount_total: 2_500,
    ...change,
  }
  return { id: 'evt_1', object: 'event', type, data: { object: session } }
}

function refunded(tenantId: string, amount_refunded: number, change: Record<string, unknown> = {}) {
  const payment_intent = `pi_1_${tenantId}`
  const charge = { id: `ch_${tenantId}`, payment_intent, currency: 'usd', amount: 2_500, amount_refunded, metadata: {} }
  return { id: 'evt_2', object: 'event', type: 'charge.refunded', data: { object: { ...charge, ...change } } }
}

function dispute(tenantId: string, status: string, amount: number) {
  const object = { id: `dp_${tenantId}`, payment_intent: `pi_1_${tenantId}`, currency: 'usd', amount, status }
  return { id: 'evt_3', object: 'event', type: 'charge.dispute.closed', data: { object } }
}

async function deliver(
  event: object,
  signed: { secret?: string; timestamp?: number; header?: string; payload?: string } = {},
) {
  const payload = JSON.stringify(event)
  const { secret = env.STRIPE_WEBHOOK_SECRET ?? '', timestamp = Math.floor(Date.now() / 1_000) } = signed
  const header =
    signed.header ??
    (await Stripe.webhooks.generateTestHeaderStringAsync({ payload, secret, timestamp, cryptoProvider }))
  const response = await fetchGateway('https://gateway.test/webhooks/stripe', {
    method: 'POST',
    headers: { 'stripe-signature': header, 'content-type': 'application/json' },
    body: signed.payload ?? payload,
  })
  // biome-ignore lint/suspicious/noExplicitAny: tests read bodies of any shape.
  return { status: response.status, body: (await response.json()) as any }
}

async function creditOf(tenantId: string): Promise<number> {
  return (await operate('GET', `/admin/tenants/${tenantId}`)).creditNano
}

const empty = (tenantId: string) => openTenant(tenantId, { creditNano: 0 })

afterEach(() => {
  vi.restoreAllMocks()
})

describe('billing', () => {
  it('[BIL1] admins and owners get a page to pay an amount within the bounds, for their own tenant', async () => {
    await empty('buyer')
    const calls = stripeServer()
    const body = { amount_cents: 2_500, success_url: 'https://app.example.com/paid' }
    for (const role of ['viewer', 'member', 'admin', 'owner']) {
      const { apiKey } = await openKey('buyer', { role })
      const allowed = role === 'admin' || role === 'owner'
      const answer = await send('POST', '/v1/billing/checkout', body, apiKey)
      expect(answer.status, role).toBe(allowed ? 201 : 403)
      const portal = await send('POST', '/v1/billing/portal', { return_url: 'https://app.example.com' }, apiKey)
      expect(portal.status, role).toBe(allowed ? 201 : 403)
      if (!allowed) continue
      expect(answer.body).toEqual({
        id: 'cs_test_1',
        url: 'https://checkout.stripe.com/c/pay/cs_test_1',
        amount_cents: 2_500,
        expires_at: 1_795_900_000_000,
      })
      expect(portal.body).toEqual({ url: 'https://billing.stripe.com/session/bps_1' })
    }
    const made = calls.filter(({ path }) => path === '/v1/checkout/sessions')
    expect(made).toHaveLength(2)
    expect(made[0]?.form).toEqual({
      mode: 'payment',
      customer: 'cus_buyer',
      client_reference_id: 'buyer',
      [`metadata[${tenantField}]`]: 'buyer',
      [`payment_intent_data[metadata][${tenantField}]`]: 'buyer',
      'line_items[0][quantity]': '1',
      'line_items[0][price_data][currency]': 'usd',
      'line_items[0][price_data][unit_amount]': '2500',
      'line_items[0][price_data][product_data][name]': 'API credit',
      success_url: 'https://app.example.com/paid',
    })
    expect(made[0]?.headers.get('authorization')).toBe(`Bearer ${env.STRIPE_SECRET_KEY}`)
    // The customer is created once.
    expect(calls.filter(({ path }) => path === '/v1/customers')).toHaveLength(1)
    expect(calls.find(({ path }) => path === '/v1/billing_portal/sessions')?.form).toEqual({
      customer: 'cus_buyer',
      return_url: 'https://app.example.com',
    })
    const { apiKey } = await openKey('buyer', { role: 'admin' })
    for (const [change, param] of [
      [{ amount_cents: 99 }, 'amount_cents'],
      [{ amount_cents: 1_000_001 }, 'amount_cents'],
      [{ amount_cents: 100.5 }, 'amount_cents'],
      [{ amount_cents: '2500' }, 'amount_cents'],
      [{ success_url: 'http://app.example.com' }, 'success_url'],
      [{ success_url: 'javascript:alert(1)' }, 'success_url'],
      [{ cancel_url: `https://a.example.com/${'x'.repeat(2_000)}` }, 'cancel_url'],
      [{ tenant_id: 'other' }, 'tenant_id'],
    ] as const)
      expect(await send('POST', '/v1/billing/checkout', { ...body, ...change }, apiKey), param).toMatchObject({
        status: 400,
        body: { param },
      })
    expect(calls.filter(({ path }) => path === '/v1/checkout/sessions')).toHaveLength(2)
    expect(await creditOf('buyer')).toBe(0)
  })

  it('[BIL2] an answer of Stripe that is an error returns 503 without its text, and posts nothing', async () => {
    await empty('unlucky')
    vi.spyOn(console, 'error').mockImplementation(() => undefined)
    vi.spyOn(globalThis, 'fetch').mockImplementation(async () =>
      Response.json(
        { error: { type: 'invalid_request_error', message: 'Invalid API Key: sk_test_gateway' } },
        { status: 401 },
      ),
    )
    const { apiKey } = await openKey('unlucky', { role: 'owner' })
    const answer = await send('POST', '/v1/billing/portal', { return_url: 'https://app.example.com' }, apiKey)
    expect(answer).toMatchObject({ status: 503, body: { code: 'server_is_overloaded' } })
    expect(answer.text).not.toContain('sk_test')
    expect((await deliver(refunded('unlucky', 100))).status).toBe(503)
  })

  it('[BIL3] a webhook with a wrong, missing or old signature, or a changed body, is refused and posts nothing', async () => {
    await empty('guarded')
    const event = paid('guarded')
    const now = Math.floor(Date.now() / 1_000)
    for (const signed of [
      { secret: 'whsec_other' },
      { timestamp: now - 400 },
      { timestamp: 1 },
      { header: '' },
      { header: 't=1,v1=00' },
      { header: `t=${now}` },
      { payload: JSON.stringify(paid('guarded', { amount_total: 9_999 })) },
    ])
      expect(await deliver(event, signed), JSON.stringify(signed)).toMatchObject({
        status: 400,
        body: { param: 'stripe-signature' },
      })
    expect((await deliver({ ...event, padding: 'x'.repeat(256 * 1_024) })).status).toBe(413)
    expect(await creditOf('guarded')).toBe(0)
    expect(await deliver(event, { timestamp: now - 200 })).toMatchObject({ status: 200, body: { outcome: 'credited' } })
  })

  it('[BIL4] a payment is credited once, for both events, repeated and at the same time', async () => {
    await empty('payer')
    expect((await deliver(paid('payer', { payment_status: 'unpaid' }))).body).toMatchObject({ outcome: 'ignored' })
    expect(await creditOf('payer')).toBe(0)
    const late = paid('payer', {}, 'checkout.session.async_payment_succeeded')
    const answers = await Promise.all([late, paid('payer'), late, paid('payer')].map((event) => deliver(event)))
    expect(answers.map(({ body }) => body.outcome).sort()).toEqual(['credited', 'repeated', 'repeated', 'repeated'])
    expect(await creditOf('payer')).toBe(2_500 * centNano)
    expect((await deliver(paid('payer', { amount_total: 9_900 }))).status).toBe(409)
    await deliver(paid('payer', { payment_intent: 'pi_2' }))
    expect(await creditOf('payer')).toBe(5_000 * centNano)
  })

  it('[BIL5] a payment of another system, currency, mode or tenant posts nothing', async () => {
    await empty('careful')
    for (const [change, expected] of [
      [{ metadata: {} }, { status: 200, body: { outcome: 'ignored' } }],
      [{ metadata: null }, { status: 200, body: { outcome: 'ignored' } }],
      [{ mode: 'subscription' }, { status: 200, body: { outcome: 'ignored' } }],
      [{ payment_status: 'no_payment_required' }, { status: 200, body: { outcome: 'ignored' } }],
      [{ client_reference_id: 'payer' }, { status: 400, body: { param: 'client_reference_id' } }],
      [{ client_reference_id: null }, { status: 400, body: { param: 'client_reference_id' } }],
      [{ currency: 'eur' }, { status: 400, body: { param: 'currency' } }],
      [{ currency: 'jpy' }, { status: 400, body: { param: 'currency' } }],
      [{ amount_total: -5 }, { status: 400, body: { param: 'amount_total' } }],
      [{ amount_total: 0 }, { status: 400 }],
      [{ payment_intent: null }, { status: 400 }],
      [{ client_reference_id: 'unknown', metadata: { [tenantField]: 'unknown' } }, { status: 404 }],
      [{ client_reference_id: '../x', metadata: { [tenantField]: '../x' } }, { status: 404 }],
    ] as const)
      expect(await deliver(paid('careful', change)), JSON.stringify(change)).toMatchObject(expected)
    const other = { id: 'evt_4', object: 'event', type: 'invoice.paid', data: { object: {} } }
    expect((await deliver(other)).body).toMatchObject({ received: true, outcome: 'ignored' })
    expect(await creditOf('careful')).toBe(0)
  })

  it('[BIL6] refunds reverse what they return, in any order and once, and never more than the credit', async () => {
    await empty('returner')
    stripeServer()
    // A refund that arrives before its payment is refused, so that Stripe sends it again.
    expect((await deliver(refunded('returner', 300))).status).toBe(409)
    await deliver(paid('returner'))
    await deliver(paid('returner', { payment_intent: 'pi_2' }))
    const events = [500, 300, 500, 300].map((cents) => refunded('returner', cents))
    for (const { status } of await Promise.all(events.map((event) => deliver(event)))) expect(status).toBe(200)
    expect(await creditOf('returner')).toBe(4_500 * centNano)
    expect((await deliver(refunded('returner', 300))).body).toMatchObject({ outcome: 'repeated' })
    expect((await deliver(dispute('returner', 'won', 2_500))).body).toMatchObject({ outcome: 'ignored' })
    // The dispute takes the rest of its own payment, and nothing of the other.
    expect((await deliver(dispute('returner', 'lost', 2_500))).body).toMatchObject({ outcome: 'reversed' })
    expect((await deliver(dispute('returner', 'lost', 2_500))).body).toMatchObject({ outcome: 'repeated' })
    await deliver(refunded('returner', 2_500))
    expect(await creditOf('returner')).toBe(2_500 * centNano)
    const { data } = await operate('GET', '/admin/tenants/returner/entries')
    expect(data.map(({ kind }: { kind: string }) => kind)).not.toContain('correction')
    expect(await operate('GET', '/admin/tenants/returner/verification')).toEqual({ entries: 4, faults: [] })
  })

  it('[BIL7] a refund of another payment or currency posts nothing', async () => {
    await empty('apart')
    stripeServer()
    await deliver(paid('apart'))
    expect((await deliver(refunded('apart', 500, { payment_intent: 'pi_foreign' }))).body.outcome).toBe('ignored')
    expect((await deliver(refunded('apart', 500, { payment_intent: null }))).body.outcome).toBe('ignored')
    expect(await deliver(refunded('apart', 500, { currency: 'eur' }))).toMatchObject({ body: { param: 'currency' } })
    expect(await creditOf('apart')).toBe(2_500 * centNano)
  })

  it('[BIL8] a refund of spent credit reverses the rest, fails, and reverses more when there is credit', async () => {
    await empty('spender')
    stripeServer()
    await deliver(paid('spender'))
    await operate('POST', '/admin/tenants/spender/corrections', {
      id: 'spent',
      costNano: 2_000 * centNano,
      note: 'spent',
    })
    const answer = await deliver(refunded('spender', 2_500))
    expect(answer).toMatchObject({ status: 409, body: { message: expect.stringContaining('20000000000') } })
    expect(await creditOf('spender')).toBe(2_000 * centNano)
    await deliver(paid('spender', { payment_intent: 'pi_2', amount_total: 2_100 }))
    expect((await deliver(refunded('spender', 2_500))).body.outcome).toBe('reversed')
    expect(await creditOf('spender')).toBe(2_100 * centNano)
  })
})
