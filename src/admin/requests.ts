/**
 * `/admin/requests/:requestId`: why a request went to its worker, and its entries. The fleet keeps the decisions of the
 * last 50,000 requests; the tenant's ledger keeps the entries for the tenant's retention.
 */

import { z } from 'zod'
import { fleetOf } from '../fleet/client.ts'
import { GatewayError } from '../http/errors.ts'
import type { Route } from '../http/route.ts'
import { noSuchTenant, tenantStub } from '../tenant/stub.ts'
import { ExplainedRequest } from './answers/requests.ts'
import { operatorRoute } from './operator-route.ts'
import { RequestId, TenantId } from './parameters.ts'

const RequestQuery = z.object({
  tenantId: TenantId.describe('Id of the tenant. Required only if the fleet no longer has the request.').optional(),
})

export const requests: readonly Route[] = [
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
