/**
 * Rate cards: prices per token from a given time. New tenants start with those under `/admin/rate-cards`, which can be
 * pushed to existing tenants, page by page. A tenant's own are in its object. Cards are added, never changed.
 */

import { z } from 'zod'
import { GatewayError } from '../http/errors.ts'
import { onePage, wholeList } from '../http/page.ts'
import type { Route } from '../http/route.ts'
import { accept, noSuchTenant, tenantStub } from '../tenant/stub.ts'
import { PushedRateCard, RateCard, RateCardList } from './answers/plans.ts'
import { RateCardBody, RateCardModel, Time } from './bodies.ts'
import { type AdminBindings, note } from './context.ts'
import { operatorRoute } from './operator-route.ts'
import { TenantId } from './parameters.ts'

const PushRateCard = z
  .strictObject({
    model: RateCardModel,
    effectiveAt: Time.describe(
      'The time of an existing default card that is not yet in force, in Unix milliseconds.',
    ).meta({ examples: [1_893_456_000_000] }),
    after: z
      .string()
      .max(64)
      .default('')
      .describe('The `next` of the previous answer, at most 64 characters. Without it, the first tenants.')
      .meta({ examples: ['acme'] }),
    limit: z
      .int()
      .min(1)
      .max(200)
      .default(100)
      .describe('Maximum number of tenants in this call, from 1 to 200.')
      .meta({ examples: [100] }),
  })
  .meta({ id: 'PushRateCard' })

interface CardRow {
  model: string
  effectiveAt: number
  inputNano: number
  cachedNano: number
  outputNano: number
}

const columns =
  'model, effective_at AS effectiveAt, input_nano AS inputNano, cached_nano AS cachedNano, output_nano AS outputNano'
const cardsMax = 1_000

export const rateCards: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/rate-cards',
      id: 'listDefaultRateCards',
      tag: 'Plans and prices',
      summary: 'List default prices',
      scope: 'tenants:read',
      answer: RateCardList,
    },
    async (context) => {
      const { results } = await context.env.DB.prepare(
        `SELECT ${columns} FROM rate_cards ORDER BY model, effective_at DESC LIMIT ?`,
      )
        .bind(cardsMax)
        .all()
      return wholeList(results)
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/rate-cards',
      id: 'addDefaultRateCard',
      tag: 'Plans and prices',
      summary: 'Add a default price',
      description: 'The price applies from `effective_at`, by default now.',
      scope: 'rates:write',
      body: RateCardBody,
      status: 201,
      answer: RateCard,
    },
    async (context, { body }) => {
      const { effectiveAt: requested, ...card } = body
      const now = Date.now()
      const effectiveAt = requested ?? now
      note(context, { target: card.model, after: { ...card, effectiveAt } })
      if (effectiveAt < now) {
        throw new GatewayError('invalid_value', 'effectiveAt: is in the past. Use the current or a later time.', {
          param: 'effectiveAt',
        })
      }
      const { model, inputNano, cachedNano, outputNano } = card
      const added = await context.env.DB.prepare(
        'INSERT OR IGNORE INTO rate_cards SELECT ?, ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM rate_cards) < ?',
      )
        .bind(model, effectiveAt, inputNano, cachedNano, outputNano, now, cardsMax)
        .run()
      if (added.meta.changes === 0) {
        const message = `effectiveAt: ${model} has a rate card for this time, or there are ${cardsMax} cards, the maximum. Cards cannot be changed: use another time.`
        throw new GatewayError('conflict', message, { param: 'effectiveAt' })
      }
      return { model, effectiveAt, inputNano, cachedNano, outputNano }
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/rate-cards/push',
      id: 'pushRateCard',
      tag: 'Plans and prices',
      summary: 'Apply a default price to existing tenants',
      description: 'Each call handles one page of tenants. Repeat it with `after` until `next` is null.',
      scope: 'rates:write',
      body: PushRateCard,
      answer: PushedRateCard,
    },
    async (context, { body }) => {
      const { model, effectiveAt, after, limit } = body
      note(context, { target: model, after: { effectiveAt, after } })
      const { DB } = context.env
      const card = await DB.prepare(`SELECT ${columns} FROM rate_cards WHERE model = ? AND effective_at = ?`)
        .bind(model, effectiveAt)
        .first<CardRow>()
      if (!card) throw new GatewayError('not_found', 'Rate card not found. List rate cards with GET /admin/rate-cards.')
      if (effectiveAt < Date.now()) {
        const message =
          'effectiveAt: this card is already in force, and prices cannot change for the past. Add a card for later and push it.'
        throw new GatewayError('invalid_value', message, { param: 'effectiveAt' })
      }
      const { results } = await DB.prepare(
        'SELECT tenant_id AS tenantId FROM tenants WHERE tenant_id > ? ORDER BY tenant_id LIMIT ?',
      )
        .bind(after, limit + 1)
        .all<{ tenantId: string }>()
      const { data, next } = onePage(results, limit, (row) => row.tenantId)
      const { inputNano, cachedNano, outputNano } = card
      const priced = { model, effectiveAt, rates: { inputNano, cachedNano, outputNano } }
      const answers = await Promise.all(data.map(({ tenantId }) => tenantStub(context.env, tenantId).addRates(priced)))
      const unchanged = data.filter((_, index) => answers[index]?.ok === false).map(({ tenantId }) => tenantId)
      // A tenant with its own card for this time keeps it, and the answer names the tenant.
      return { pushed: data.length - unchanged.length, kept: unchanged, next }
    },
  ),
]

export const tenantRateCards: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/rate-cards',
      params: { tenantId: TenantId },
      id: 'listRateCards',
      tag: 'Plans and prices',
      summary: 'List a tenant’s prices',
      scope: 'tenants:read',
      answer: RateCardList,
    },
    async (context, { params }) => {
      const rows = await tenantStub(context.env, params.tenantId).rateCards()
      if (!rows) throw noSuchTenant()
      const data = rows.map((row) => ({
        model: row.model,
        effectiveAt: row.effective_at,
        inputNano: row.input_nano,
        cachedNano: row.cached_nano,
        outputNano: row.output_nano,
      }))
      return wholeList(data)
    },
  ),
  operatorRoute(
    {
      method: 'post',
      path: '/admin/tenants/{tenantId}/rate-cards',
      params: { tenantId: TenantId },
      id: 'addRateCard',
      tag: 'Plans and prices',
      summary: 'Add a price for one tenant',
      scope: 'rates:write',
      body: RateCardBody,
      status: 201,
      answer: RateCard,
    },
    async (context, { params, body }) => {
      const { model, effectiveAt: requested, ...rates } = body
      const stub = tenantStub(context.env, params.tenantId)
      const { effectiveAt } = accept(await stub.addRates({ model, effectiveAt: requested, rates }))
      note(context, { target: model, after: { effectiveAt, ...rates } })
      return { model, effectiveAt, ...rates }
    },
  ),
]

/** The rate cards of a new tenant, in addition to the list price. */
export async function defaultRateCards(env: AdminBindings) {
  const { results } = await env.DB.prepare(`SELECT ${columns} FROM rate_cards LIMIT ?`).bind(cardsMax).all<CardRow>()
  return results.map(({ model, effectiveAt, ...rates }) => ({ model, effectiveAt, rates }))
}
