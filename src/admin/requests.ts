/**
 * `/admin/requests/:requestId`: why a request went to its worker, and its entries. The fleet keeps the decisions of the
 * last 50,000 requests; the tenant's ledger keeps the entries for the tenant's retention.
 */

import { z } from 'zod'
import { fleetOf } from '../fleet/client.ts'
import { GatewayError } from '../http/errors.ts'
import type { Route } from '../http/route.ts'
import { utcMonths } from '../tenant/limits/calendar.ts'
import { isWanted, type RequestListQuery, readRequestQuery, resolveRequestQuery } from '../tenant/request-filter.ts'
import { accept, noSuchTenant, tenantStub } from '../tenant/stub.ts'
import { RequestParameters } from '../tenant/usage/usage-parameters.ts'
import { ExplainedRequest, FleetRequestList, RequestList } from './answers/requests.ts'
import type { AdminBindings } from './context.ts'
import { operatorRoute } from './operator-route.ts'
import { RequestId, TenantId } from './parameters.ts'

const RequestQuery = z.object({
  tenantId: TenantId.describe('Id of the tenant. Required only if the fleet no longer has the request.').optional(),
})

const FleetRequestParameters = RequestParameters.extend({
  tenant_id: z
    .string()
    .optional()
    .describe('Only requests of this tenant.')
    .meta({ examples: ['acme'] }),
})

export const requests: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/requests',
      id: 'listRequests',
      tag: 'Workers',
      summary: 'List the last requests of all tenants with their attempts',
      description:
        'The last 50,000 requests that came to the fleet. A page reads at most `limit` of them, at most 100: with filters it may have fewer items, or none, and `next` continues.',
      scope: 'tenants:read',
      query: FleetRequestParameters,
      answer: FleetRequestList,
      readsItself: true,
    },
    async (context) => {
      const params = new URL(context.req.url).searchParams
      const query = readRequestQuery(params, ['tenant_id'])
      const tenantId = params.get('tenant_id')
      return listFleetRequests(context.env, query, tenantId, Date.now())
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/requests',
      params: { tenantId: TenantId },
      id: 'listTenantRequests',
      tag: 'Tenants',
      summary: 'List a tenant’s requests, newest first',
      scope: 'tenants:read',
      query: RequestParameters,
      answer: RequestList,
      readsItself: true,
    },
    async (context, { params }) => {
      const query = readRequestQuery(new URL(context.req.url).searchParams)
      const by = { kind: 'operator' } as const
      return accept(await tenantStub(context.env, params.tenantId).listRequests(by, query))
    },
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/requests/{requestId}',
      params: { requestId: RequestId },
      id: 'explainRequest',
      tag: 'Workers',
      summary: 'Explain the routing of a request and list its entries',
      scope: 'tenants:read',
      query: RequestQuery,
      answer: ExplainedRequest,
    },
    async (context, { params, query }) => {
      const { requestId } = params
      const decision = (await fleetOf(context.env).decision(requestId)) ?? null
      const tenantId = decision?.tenantId ?? query.tenantId
      if (tenantId === undefined) {
        const message = `The fleet has no decisions for request ${requestId}. Add ?tenant_id= to see its entries.`
        throw new GatewayError('not_found', message)
      }
      if (!(await tenantStub(context.env, tenantId).listing())) throw noSuchTenant()
      const waiting = decision && decision.outcome === null && decision.attempts.length === 0
      const position = waiting ? await fleetOf(context.env).position(requestId) : undefined
      const entries = await tenantStub(context.env, tenantId).entries(requestId)
      return { requestId, tenantId, decision, waiting: position ?? null, ledger: entries }
    },
  ),
]

/** Each request costs a call to its tenant, at most one for each tenant of the page. */
const fleetPageMax = 100

async function listFleetRequests(env: AdminBindings, query: RequestListQuery, tenantId: string | null, now: number) {
  const filter = accept(resolveRequestQuery(query, utcMonths, now))
  const { from = 0, to = Number.POSITIVE_INFINITY } = filter
  const page = await fleetOf(env).listDecisions(query.before, Math.min(query.limit, fleetPageMax))
  const decisions = page.data.filter(
    (each) => each.cameAt >= from && each.cameAt < to && (tenantId === null || each.tenantId === tenantId),
  )
  const byTenant = [...Map.groupBy(decisions, (decision) => decision.tenantId)]
  const views = await Promise.all(
    byTenant.map(([each, some]) => tenantStub(env, each).requestViews(some.map(({ requestId }) => requestId))),
  )
  const known = new Map(views.flat().map((view) => [view.requestId, view]))
  const filtered = Object.values(query.filter).some(
    (value) => value !== undefined && !(Array.isArray(value) && value.length === 0),
  )
  const data = decisions.flatMap((decision) => {
    const request = known.get(decision.requestId) ?? null
    const wanted = request ? isWanted(request, filter) : !filtered
    return wanted ? [{ tenantId: decision.tenantId, cameAt: decision.cameAt, request, decision }] : []
  })
  return { data, next: page.next }
}
