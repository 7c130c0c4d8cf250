/**
 * A tenant's own routes: usage, limits and keys, as far as the key's role allows (see tenant/roles.ts). The key alone
 * names the tenant; no route takes a tenant id, so no key can read another tenant's data.
 */

import { KeyAnswer, NewKeyAnswer, OwnKeyList, OwnLimits, RevokedKey, RevokedKeysAnswer } from '../admin/answers/keys.ts'
import { OwnPriceList, priceAnswer } from '../admin/answers/prices.ts'
import { OwnRequestList, ownRouting, ShownRequest } from '../admin/answers/requests.ts'
import { StatementAnswer, StatementList, statementFiles } from '../admin/answers/statements.ts'
import { OwnEntryList } from '../admin/answers/tenants.ts'
import { EntriesPage, KeyBody, KeyChangeBody, KeysPage, RevokeAllBody, RotateBody } from '../admin/bodies.ts'
import { note } from '../admin/context.ts'
import { createKey, modeOf } from '../admin/create-key.ts'
import { KeyId, RequestId } from '../admin/parameters.ts'
import { answerStatement, answerStatements, StatementName, StatementQuery } from '../admin/statements.ts'
import { answerUsage } from '../admin/usage.ts'
import { fleetOf } from '../fleet/client.ts'
import { onePage } from '../http/page.ts'
import { UsageReport, usageFiles } from '../http/response-schemas.ts'
import type { Route } from '../http/route.ts'
import { readRequestQuery } from '../tenant/request-filter.ts'
import { accept, tenantStub } from '../tenant/stub.ts'
import { RequestParameters, UsageParameters } from '../tenant/usage/usage-parameters.ts'
import { ownAlerts } from './alerts.ts'
import { ownRoute } from './own-route.ts'

export const ownRoutes: readonly Route[] = [
  ownRoute(
    {
      method: 'get',
      path: '/v1/usage',
      id: 'reportOwnUsage',
      summary: 'Report tokens and cost by day, key, model, effort, pool and outcome',
      query: UsageParameters,
      answer: UsageReport,
      otherAnswers: usageFiles,
      readsItself: true,
    },
    (context) => {
      const { tenantId, by } = context.get('caller')
      return answerUsage(context, tenantId, by)
    },
  ),
  ownRoute(
    {
      method: 'get',
      path: '/v1/limits',
      id: 'retrieveOwnLimits',
      summary: 'Retrieve your limits and the remaining amounts',
      answer: OwnLimits,
    },
    async (context) => {
      const { tenantId, by } = context.get('caller')
      const limits = accept(await tenantStub(context.env, tenantId).limits(by))
      return { object: 'limits', ...limits }
    },
  ),
  ownRoute(
    {
      method: 'get',
      path: '/v1/entries',
      id: 'listOwnEntries',
      summary: 'List your ledger entries, newest first',
      description: 'Each cost, credit, reversal and correction is one entry. Entries are never changed.',
      query: EntriesPage,
      answer: OwnEntryList,
    },
    async (context, { query: { limit, before, kind } }) => {
      const { tenantId, by } = context.get('caller')
      const rows = accept(await tenantStub(context.env, tenantId).listEntries(by, { limit, before, kinds: kind }))
      return { object: 'list', ...onePage(rows, limit, ({ seq }) => Number(seq)) }
    },
  ),
  ownRoute(
    {
      method: 'get',
      path: '/v1/statements',
      id: 'listOwnStatements',
      summary: 'List your monthly statements, newest first',
      answer: StatementList,
    },
    (context) => {
      const { tenantId, by } = context.get('caller')
      return answerStatements(context, tenantId, by)
    },
  ),
  ownRoute(
    {
      method: 'get',
      path: '/v1/statements/{period}',
      params: { period: StatementName },
      id: 'retrieveOwnStatement',
      summary: 'Retrieve your statement of a month',
      description: 'The opening balance, credits, reversals, charges, refunds and usage add up to the closing balance.',
      query: StatementQuery,
      answer: StatementAnswer,
      otherAnswers: statementFiles,
    },
    (context, { params: { period }, query: { format } }) => {
      const { tenantId, by } = context.get('caller')
      return answerStatement(context, tenantId, by, period, format)
    },
  ),
  ownRoute(
    {
      method: 'get',
      path: '/v1/requests',
      id: 'listOwnRequests',
      summary: 'List your requests, newest first',
      description:
        'Running requests are in the list. A page reads a bounded number of requests: with filters it may have fewer items than `limit`, or none, and `next` continues.',
      query: RequestParameters,
      answer: OwnRequestList,
      readsItself: true,
    },
    async (context) => {
      const { tenantId, by } = context.get('caller')
      const query = readRequestQuery(new URL(context.req.url).searchParams)
      const { data, next } = accept(await tenantStub(context.env, tenantId).listRequests(by, query))
      return { object: 'list', data, next }
    },
  ),
  ownRoute(
    {
      method: 'get',
      path: '/v1/requests/{requestId}',
      params: { requestId: RequestId },
      id: 'retrieveOwnRequest',
      summary: 'Retrieve a request, with its routing and its entries',
      answer: ShownRequest,
    },
    async (context, { params: { requestId } }) => {
      const { tenantId, by } = context.get('caller')
      const { request, entries } = accept(await tenantStub(context.env, tenantId).showRequest(by, requestId))
      const decision = await fleetOf(context.env).decision(requestId)
      const routing = decision?.tenantId === tenantId && decision.attempts.length > 0 ? ownRouting(decision) : null
      return { object: 'request', ...request, routing, entries }
    },
  ),
  ownRoute(
    {
      method: 'get',
      path: '/v1/prices',
      id: 'listOwnPrices',
      summary: 'List the prices that are in force and announced',
      description: 'Prices are those of your tenant. A request is charged the price in force when it is admitted.',
      answer: OwnPriceList,
    },
    async (context) => {
      const { tenantId, by } = context.get('caller')
      const prices = accept(await tenantStub(context.env, tenantId).prices(by))
      return { object: 'list', data: prices.map(priceAnswer), next: null }
    },
  ),
  ownRoute(
    {
      method: 'get',
      path: '/v1/keys',
      id: 'listOwnKeys',
      summary: 'List the keys that your key may see',
      query: KeysPage,
      answer: OwnKeyList,
    },
    async (context, { query }) => {
      const { tenantId, by } = context.get('caller')
      const { keys, next } = accept(await tenantStub(context.env, tenantId).listKeys(by, query))
      return { object: 'list', data: keys, next }
    },
  ),
  ownRoute(
    {
      method: 'post',
      path: '/v1/keys',
      id: 'createOwnKey',
      summary: 'Create a key',
      description: 'The key is shown only once.',
      body: KeyBody,
      status: 201,
      answer: NewKeyAnswer,
    },
    async (context, { body: { mode, ...key } }) => {
      const { tenantId, by } = context.get('caller')
      const created = await createKey(context.env, tenantId, mode)
      const view = accept(
        await tenantStub(context.env, tenantId).addKey({ ...key, keyId: created.keyId, ...created.secret }, by),
      )
      note(context, { target: created.keyId, after: view })
      // The only time that the key is shown.
      return { ...view, apiKey: created.key.reveal() }
    },
  ),
  ownRoute(
    {
      method: 'post',
      path: '/v1/keys/revoke-all',
      id: 'revokeAllOwnKeys',
      summary: 'Revoke all keys',
      description:
        'Takes effect with the next request. Your own key stays valid unless `include_own` is true, and so do keys of a higher role.',
      body: RevokeAllBody,
      answer: RevokedKeysAnswer,
    },
    async (context, { body: { includeOwn } }) => {
      const { tenantId, by } = context.get('caller')
      const revoked = accept(await tenantStub(context.env, tenantId).revokeAllKeys(by, includeOwn))
      note(context, { after: revoked })
      return context.json(revoked)
    },
  ),
  ownRoute(
    {
      method: 'post',
      path: '/v1/keys/{keyId}/rotate',
      params: { keyId: KeyId },
      id: 'rotateOwnKey',
      summary: 'Rotate the secret of a key',
      description: 'The new secret is shown only once. The old one stays valid for `overlap_seconds`.',
      body: RotateBody,
      status: 201,
      answer: NewKeyAnswer,
    },
    async (context, { params, body }) => {
      const { tenantId, by } = context.get('caller')
      const { keyId } = params
      const { overlapSeconds } = body
      const stub = tenantStub(context.env, tenantId)
      const before = accept(await stub.showKey(by, keyId))
      const created = await createKey(context.env, tenantId, modeOf(before.prefix), keyId)
      const view = accept(await stub.rotateKey(by, keyId, created.secret, overlapSeconds * 1_000))
      note(context, { target: keyId, before, after: view })
      return { ...view, apiKey: created.key.reveal() }
    },
  ),
  ownRoute(
    {
      method: 'patch',
      path: '/v1/keys/{keyId}',
      params: { keyId: KeyId },
      id: 'updateOwnKey',
      summary: 'Change a key',
      description: 'Fields that are left out keep their value. A key cannot be made wider than your own.',
      body: KeyChangeBody,
      answer: KeyAnswer,
    },
    async (context, { params: { keyId }, body }) => {
      const { tenantId, by } = context.get('caller')
      const { before, after } = accept(await tenantStub(context.env, tenantId).changeKey(by, keyId, body))
      note(context, { target: keyId, before, after })
      return after
    },
  ),
  ownRoute(
    {
      method: 'delete',
      path: '/v1/keys/{keyId}',
      params: { keyId: KeyId },
      id: 'revokeOwnKey',
      summary: 'Revoke a key',
      description: 'Takes effect with the next request.',
      answer: RevokedKey,
    },
    async (context, { params }) => {
      const { tenantId, by } = context.get('caller')
      const { keyId } = params
      const view = accept(await tenantStub(context.env, tenantId).revokeKey(keyId, by))
      note(context, { target: keyId, after: view })
      return { ...view, revoked: true }
    },
  ),
  ...ownAlerts,
]
