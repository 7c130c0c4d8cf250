/** All routes for operators. */
import { fleetOf } from '../fleet/client.ts'
import type { Route } from '../http/route.ts'
import { alerts } from './alerts.ts'
import { Pools } from './answers/workers.ts'
import { audit } from './audit.ts'
import { money } from './credits.ts'
import { fleetUsage } from './fleet-usage.ts'
import { keys } from './keys.ts'
import { members } from './members.ts'
import { operatorRoute } from './operator-route.ts'
import { operators } from './operators.ts'
import { plans } from './plans.ts'
import { rateCards, tenantRateCards } from './rate-cards.ts'
import { receipts } from './receipts.ts'
import { requests } from './requests.ts'
import { statements } from './statements.ts'
import { tenantLife } from './tenant-life.ts'
import { tenants } from './tenants.ts'
import { usage } from './usage.ts'
import { meter } from './webhooks.ts'
import { workers } from './workers.ts'

const pools = operatorRoute(
  {
    method: 'get',
    path: '/admin/pools',
    id: 'retrievePools',
    tag: 'Workers',
    summary: 'Retrieve the current workers, slots and queues',
    scope: 'workers:read',
    answer: Pools,
  },
  async (context) => await fleetOf(context.env).report(),
)

export const operatorRoutes: readonly Route[] = [
  ...tenants,
  ...tenantLife,
  ...usage,
  ...fleetUsage,
  ...statements,
  ...members,
  ...meter,
  ...keys,
  ...plans,
  ...rateCards,
  ...tenantRateCards,
  ...money,
  ...workers,
  pools,
  ...requests,
  ...receipts,
  ...operators,
  ...audit,
  ...alerts,
]
