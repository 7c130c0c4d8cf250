/**
 * `/admin/requests/:requestId`: why a request went where it went, and what came of it. The fleet keeps the decisions
 * of the last fifty thousand requests; what was booked is the tenant's ledger, which stays for the tenant's retention.
 */
import { Hono } from 'hono'
import { z } from 'zod'
import { fleetOf } from '../fleet/client.ts'
import { GatewayError } from '../http/errors.ts'
import { type AdminEnv, parse, tenantStub } from './context.ts'
import { needs } from './guard.ts'

/** Needed only where the fleet has forgotten the request. */
export const RequestQuery = z.object({ tenantId: z.string().min(1).max(64).optional() })

export const requests = new Hono<AdminEnv>()

requests.get('/:requestId', needs('tenants:read'), async (context) => {
  const requestId = context.req.param('requestId')
  const decision = (await fleetOf(context.env).decision(requestId)) ?? null
  const tenantId = decision?.tenantId ?? parse(context.req.query(), RequestQuery).tenantId
  if (tenantId === undefined) {
    const message = `the fleet remembers no request ${requestId}: name its tenant, as ?tenantId=, to see what was booked`
    throw new GatewayError('not_found', message)
  }
  const waiting = decision && decision.outcome === null && decision.attempts.length === 0
  const position = waiting ? await fleetOf(context.env).position(requestId) : undefined
  const entries = await tenantStub(context.env, tenantId).entries(requestId)
  return context.json({ requestId, tenantId, decision, waiting: position ?? null, ledger: entries })
})
