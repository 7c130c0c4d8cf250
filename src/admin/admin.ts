/** The operator's routes. Each resource has its own file; all pass the same guard. */
import { Hono } from 'hono'
import { fleetOf } from '../fleet/client.ts'
import { audit } from './audit.ts'
import type { AdminEnv } from './context.ts'
import { money } from './credits.ts'
import { auditedChanges, needs, operatorOnly } from './guard.ts'
import { keys } from './keys.ts'
import { members } from './members.ts'
import { operators } from './operators.ts'
import { plans } from './plans.ts'
import { rateCards, tenantRateCards } from './rate-cards.ts'
import { receipts } from './receipts.ts'
import { requests } from './requests.ts'
import { tenants } from './tenants.ts'
import { usage } from './usage.ts'
import { meter } from './webhooks.ts'
import { workers } from './workers.ts'

export const admin = new Hono<AdminEnv>()

admin.use(operatorOnly, auditedChanges)
admin.route('/tenants', tenants)
admin.route('/tenants/:tenantId/keys', keys)
admin.route('/tenants/:tenantId/members', members)
admin.route('/tenants/:tenantId/rate-cards', tenantRateCards)
admin.route('/tenants/:tenantId/usage', usage)
admin.route('/tenants/:tenantId/meter', meter)
admin.route('/tenants/:tenantId', money)
admin.route('/plans', plans)
admin.route('/rate-cards', rateCards)
admin.route('/workers', workers)
admin.route('/operators', operators)
admin.route('/audit', audit)
admin.route('/requests', requests)
admin.route('/receipts', receipts)

admin.get('/pools', needs('workers:read'), async (context) => {
  return context.json(await fleetOf(context.env).report())
})
