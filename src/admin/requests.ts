/**
 * `/admin/requests/:requestId`: why a request went to its worker, and its entries. The fleet keeps the decisions of the
 * last 50,000 requests; the tenant's ledger keeps the entries for the tenant's retention.
 */
import { Hono } from 'hono'
import { z } from 'zod'
import { fleetOf } from '../fleet/client.ts'
import { GatewayError } from '../http/errors.ts'
import { parse } from '../http/parse.ts'
import { tenantStub } from '../tenant/stub.ts'
import type { AdminEnv } from './context.ts'
import { needs } from './guard.ts'

/** Required only when the fleet no longer has the request. */
export const RequestQuery = z.object({ tenantId: z.string().min(1).max(64).optional() })

export const requests = new Hono<AdminEnv>()

requests.get('/:requestId', needs('tenants:read'), async (context) => {
  const requestId = context.req.param('requestId')
  const decision = (await fleetOf(context.env).decision(requestId)) ?? null
  const tenantId = decision?.tenantId ?? parse(context.req.query(), RequestQuery).tenantId
  if (tenantId === undefined) {
    const message = `The fleet has no decisions for request ${requestId}. Add ?tenantId= to see its entries.`
    throw new GatewayError('not_found', message)
  }
  const waiting = decision && decision.outcome === null && decision.attempts.length === 0
  const position = waiting ? await fleetOf(context.env).position(requestId) : undefined
  const entries = await tenantStub(context.env, tenantId).entries(requestId)
  return context.json({ requestId, tenantId, decision, waiting: position ?? null, ledger: entries })
})
