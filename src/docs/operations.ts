/**
 * Every route of the gateway, as data: what it takes, by the very schema that reads it, and what it answers. The
 * documents at `/openapi.json`, the reference under `/docs` and `/llms.txt` are made of this; a test holds it against the routes.
 */
import type { z } from 'zod'
import { WireChat } from '../../backends/model/chat.ts'
import { Heartbeat, HeartbeatAnswer, heartbeatPath } from '../../backends/wire/heartbeat.ts'
import { receiptsPath } from '../../backends/wire/receipt.ts'
import { AuditQuery } from '../admin/audit.ts'
import { KeyBody, KeyChangeBody, RateCardBody, RotateBody } from '../admin/bodies.ts'
import { Page } from '../admin/context.ts'
import { Correction, Credit } from '../admin/credits.ts'
import { AddMember, ChangeMember } from '../admin/members.ts'
import { NewOperator } from '../admin/operators.ts'
import { NewPlan, PlanBody } from '../admin/plans.ts'
import { WebhookBody } from '../admin/rate-cards.ts'
import { ReceiptQuery, ReceiptsQuery, SettleReceipt } from '../admin/receipts.ts'
import { RequestQuery } from '../admin/requests.ts'
import { AssignPlan, ChangeTenant, CreateTenant } from '../admin/tenants.ts'
import { SetMeter } from '../admin/webhooks.ts'
import { ChangeWorker, EnrolWorker } from '../admin/workers.ts'
import type { Scope } from '../auth/operator-key.ts'
import { Body as MessagesBody, CountBody as MessagesPrompt } from '../dialects/anthropic/read.ts'
import { Body as ResponsesBody } from '../dialects/openai-responses/read.ts'
import { ItemsPage } from '../responses/routes.ts'
import {
  ChatCompletion,
  Health,
  Message,
  ModelCard,
  ModelList,
  ResponseAnswer,
  TokenCount,
  UsageReport,
} from './response-schemas.ts'
import { UsageParameters } from './usage-parameters.ts'

export interface Operation {
  method: 'get' | 'post' | 'put' | 'patch' | 'delete'
  /** With parameters in braces. */
  path: string
  tag: Tag
  summary: string
  /** What to know beyond the schema. */
  description?: string
  auth: 'key' | 'operator' | 'worker' | 'none'
  scope?: Scope
  query?: z.ZodType
  body?: z.ZodType
  /** Names of fields in snake_case on the wire. */
  snake?: boolean
  /** Read by another program of the product and not by a schema here. */
  sealed?: boolean
  status?: number
  answer: z.ZodType | 'object' | 'nothing' | 'text'
  /** The answer may be a stream of server-sent events, when the body asks for it. */
  streams?: boolean
  /** Refusals in Anthropic's shape. */
  anthropic?: boolean
}

export const tags = {
  Chat: 'Ask the model. Each dialect reaches the same model, limits and prices.',
  Models: 'What is served.',
  'Your keys and usage': 'For a tenant’s own keys, as their role allows. Field names are snake_case.',
  Tenants: 'For operators. Each route names the scope that it takes.',
  Keys: 'A tenant’s keys, for operators.',
  'Plans and prices': 'For operators.',
  Money: 'Credits and corrections. Amounts are integer nano-dollars; each order is booked once.',
  Workers: 'Enrolment of GPU workers, and what the pools hold.',
  Operators: 'Operators’ own keys, and the log of what they changed.',
  Health: 'Whether the gateway can serve.',
  Documents: 'This documentation, for people and for programs.',
  Internal: 'Between the gateway and its workers; sealed with their keys.',
} as const
export type Tag = keyof typeof tags

const chat: Operation[] = [
  {
    method: 'post',
    path: '/v1/chat/completions',
    tag: 'Chat',
    summary: 'OpenAI’s Chat Completions',
    description:
      'Thinking comes as `reasoning_content`, apart from `content`. A tool call is one whole delta. Images are data URLs or ' +
      'https addresses (`image_url`), documents PDFs (`file`, `document_url`). Tools that are not functions are left out, ' +
      'and named in `x-tramontane-warnings`.',
    auth: 'key',
    body: WireChat,
    answer: ChatCompletion,
    streams: true,
  },
  {
    method: 'post',
    path: '/v1/messages',
    tag: 'Chat',
    summary: 'Anthropic’s Messages',
    description:
      'Thinking blocks are given when `thinking` asks for them, and are to be sent back as they came. `output_config.effort` ' +
      'and a thinking budget set the effort.',
    auth: 'key',
    body: MessagesBody,
    answer: Message,
    streams: true,
    anthropic: true,
  },
  {
    method: 'post',
    path: '/v1/messages/count_tokens',
    tag: 'Chat',
    summary: 'How long a prompt is, in tokens',
    description:
      'Exact, from an engine that serves the model. Where none can say, or the prompt has images or documents, it is an ' +
      'estimate on the high side, and `estimated` is true.',
    auth: 'key',
    body: MessagesPrompt,
    answer: TokenCount,
    anthropic: true,
  },
  {
    method: 'post',
    path: '/v1/responses/input_tokens',
    tag: 'Chat',
    summary: 'How long a prompt is, in tokens, for OpenAI’s clients',
    auth: 'key',
    body: ResponsesBody,
    answer: TokenCount,
  },
  {
    method: 'post',
    path: '/v1/responses',
    tag: 'Chat',
    summary: 'OpenAI’s Responses',
    description:
      'Thinking is an item of its own: its text, its summary where `reasoning.summary` asks for one, and sealed where ' +
      '`include` names `reasoning.encrypted_content`. Tools of types that are not run here are left out, and named in ' +
      '`x-tramontane-warnings`.',
    auth: 'key',
    body: ResponsesBody,
    answer: ResponseAnswer,
    streams: true,
  },
  {
    method: 'get',
    path: '/v1/responses/{id}',
    tag: 'Chat',
    summary: 'A response that is kept',
    description:
      'Responses are kept as long as the tenant’s setting `responseDays` says, unless they were asked for with `store: false`.',
    auth: 'key',
    answer: ResponseAnswer,
  },
  {
    method: 'delete',
    path: '/v1/responses/{id}',
    tag: 'Chat',
    summary: 'Deletes a response that is kept; a conversation that leads through it cannot be continued',
    auth: 'key',
    answer: 'object',
  },
  {
    method: 'get',
    path: '/v1/responses/{id}/input_items',
    tag: 'Chat',
    summary: 'What was sent for a response that is kept',
    auth: 'key',
    query: ItemsPage,
    answer: 'object',
  },
  {
    method: 'post',
    path: '/mistral/v1/chat/completions',
    tag: 'Chat',
    summary: 'Mistral’s dialect of Chat Completions',
    description:
      'Thinking comes as chunks of the content, as Mistral’s own clients read it. `random_seed`, `prompt_mode` and ' +
      '`safe_prompt` are read; the rest is as in Chat Completions.',
    auth: 'key',
    body: WireChat,
    answer: 'object',
    streams: true,
  },
]

const models: Operation[] = [
  {
    method: 'get',
    path: '/v1/models',
    tag: 'Models',
    summary: 'The models that are served, with their other names',
    description: 'With the header `anthropic-version`, in Anthropic’s shape.',
    auth: 'key',
    answer: ModelList,
  },
  {
    method: 'get',
    path: '/v1/models/{id}',
    tag: 'Models',
    summary: 'One model, by its id or an older name',
    auth: 'key',
    answer: ModelCard,
  },
  {
    method: 'get',
    path: '/mistral/v1/models',
    tag: 'Models',
    summary: 'The same, for Mistral’s clients',
    auth: 'key',
    answer: ModelList,
  },
  {
    method: 'get',
    path: '/mistral/v1/models/{id}',
    tag: 'Models',
    summary: 'The same, for Mistral’s clients',
    auth: 'key',
    answer: ModelCard,
  },
]

const own = (operation: Omit<Operation, 'tag' | 'auth'>): Operation => ({
  tag: 'Your keys and usage',
  auth: 'key',
  ...operation,
})
const ownRoutes: Operation[] = [
  own({
    method: 'get',
    path: '/v1/usage',
    summary: 'Tokens and cost by day, key, model, effort, pool and outcome',
    query: UsageParameters,
    answer: UsageReport,
  }),
  own({ method: 'get', path: '/v1/limits', summary: 'What is set and what is left, now', answer: 'object' }),
  own({ method: 'get', path: '/v1/keys', summary: 'The keys that this one may see', query: Page, answer: 'object' }),
  own({
    method: 'post',
    path: '/v1/keys',
    summary: 'A new key; it is shown this once',
    body: KeyBody,
    snake: true,
    status: 201,
    answer: 'object',
  }),
  own({
    method: 'post',
    path: '/v1/keys/{keyId}/rotate',
    summary: 'A new secret for a key; the old one works for `overlap_seconds` more',
    body: RotateBody,
    snake: true,
    status: 201,
    answer: 'object',
  }),
  own({
    method: 'delete',
    path: '/v1/keys/{keyId}',
    summary: 'Revokes a key, from the next request on',
    answer: 'object',
  }),
]

type OperatorRoute = Omit<Operation, 'tag' | 'auth' | 'answer'> & Partial<Pick<Operation, 'answer'>>
const forOperators = (tag: Tag, routes: OperatorRoute[]): Operation[] =>
  routes.map((route) => ({ tag, auth: 'operator', answer: 'object', ...route }))
const tenant = '/admin/tenants/{tenantId}'

const tenants = forOperators('Tenants', [
  {
    method: 'post',
    path: '/admin/tenants',
    summary: 'A new tenant',
    scope: 'tenants:write',
    body: CreateTenant,
    status: 201,
  },
  {
    method: 'get',
    path: '/admin/tenants',
    summary: 'All tenants, page by page',
    scope: 'tenants:read',
    query: Page,
  },
  { method: 'get', path: tenant, summary: 'One tenant with its balances', scope: 'tenants:read' },
  {
    method: 'patch',
    path: tenant,
    summary: 'Changes name, status, limits or settings; the rest stays',
    scope: 'tenants:write',
    body: ChangeTenant,
  },
  {
    method: 'put',
    path: `${tenant}/plan`,
    summary: 'Copies a plan’s limits and settings',
    scope: 'tenants:write',
    body: AssignPlan,
  },
  {
    method: 'get',
    path: `${tenant}/requests/{requestId}`,
    summary: 'All entries of one request',
    scope: 'tenants:read',
  },
  {
    method: 'get',
    path: `${tenant}/verification`,
    summary: 'Whether the tenant’s books verify',
    scope: 'tenants:read',
  },
  {
    method: 'get',
    path: `${tenant}/usage`,
    summary: 'The tenant’s usage',
    scope: 'usage:read',
    query: UsageParameters,
    answer: UsageReport,
  },
  {
    method: 'get',
    path: `${tenant}/members`,
    summary: 'Members, page by page',
    scope: 'tenants:read',
    query: Page,
  },
  {
    method: 'post',
    path: `${tenant}/members`,
    summary: 'Adds a member',
    scope: 'members:write',
    body: AddMember,
    status: 201,
  },
  {
    method: 'patch',
    path: `${tenant}/members/{member}`,
    summary: 'Changes a member’s role',
    scope: 'members:write',
    body: ChangeMember,
  },
  {
    method: 'delete',
    path: `${tenant}/members/{member}`,
    summary: 'Removes a member',
    scope: 'members:write',
  },
  { method: 'get', path: `${tenant}/meter`, summary: 'Where meter events go', scope: 'tenants:read' },
  {
    method: 'put',
    path: `${tenant}/meter`,
    summary: 'Sends every billed entry from now on to an endpoint',
    scope: 'tenants:write',
    body: SetMeter,
  },
  { method: 'delete', path: `${tenant}/meter`, summary: 'Ends meter events', scope: 'tenants:write' },
])

const keys = forOperators('Keys', [
  {
    method: 'get',
    path: `${tenant}/keys`,
    summary: 'A tenant’s keys, page by page',
    scope: 'tenants:read',
    query: Page,
  },
  {
    method: 'post',
    path: `${tenant}/keys`,
    summary: 'A new key; it is shown this once',
    scope: 'keys:write',
    body: KeyBody,
    status: 201,
  },
  { method: 'get', path: `${tenant}/keys/{keyId}`, summary: 'One key', scope: 'tenants:read' },
  {
    method: 'patch',
    path: `${tenant}/keys/{keyId}`,
    summary: 'Changes what is named',
    scope: 'keys:write',
    body: KeyChangeBody,
  },
  {
    method: 'post',
    path: `${tenant}/keys/{keyId}/rotate`,
    summary: 'A new secret',
    scope: 'keys:write',
    body: RotateBody,
    status: 201,
  },
  {
    method: 'delete',
    path: `${tenant}/keys/{keyId}`,
    summary: 'Revokes a key, from the next request on',
    scope: 'keys:write',
  },
])

const prices = forOperators('Plans and prices', [
  {
    method: 'get',
    path: '/admin/plans',
    summary: 'Plans, page by page',
    scope: 'tenants:read',
    query: Page,
  },
  {
    method: 'post',
    path: '/admin/plans',
    summary: 'A new plan',
    scope: 'plans:write',
    body: NewPlan,
    status: 201,
  },
  { method: 'get', path: '/admin/plans/{planId}', summary: 'One plan', scope: 'tenants:read' },
  {
    method: 'put',
    path: '/admin/plans/{planId}',
    summary: 'Replaces a plan; nobody changes until it is assigned again',
    scope: 'plans:write',
    body: PlanBody,
  },
  {
    method: 'delete',
    path: '/admin/plans/{planId}',
    summary: 'Removes a plan',
    scope: 'plans:write',
  },
  { method: 'get', path: '/admin/rate-cards', summary: 'Default prices', scope: 'tenants:read' },
  {
    method: 'post',
    path: '/admin/rate-cards',
    summary: 'A default price, from now or later',
    scope: 'rates:write',
    body: RateCardBody,
    status: 201,
  },
  {
    method: 'post',
    path: '/admin/rate-cards/push',
    summary: 'Gives a default price to tenants that there are, page by page',
    scope: 'rates:write',
    body: WebhookBody,
  },
  {
    method: 'get',
    path: `${tenant}/rate-cards`,
    summary: 'A tenant’s prices',
    scope: 'tenants:read',
  },
  {
    method: 'post',
    path: `${tenant}/rate-cards`,
    summary: 'A price for one tenant',
    scope: 'rates:write',
    body: RateCardBody,
    status: 201,
  },
])

const money = forOperators('Money', [
  {
    method: 'post',
    path: `${tenant}/credits`,
    summary: 'Adds credit, once for each order id',
    scope: 'money:write',
    body: Credit,
    status: 201,
  },
  {
    method: 'post',
    path: `${tenant}/corrections`,
    summary: 'A charge or refund, once for each order id',
    scope: 'money:write',
    body: Correction,
    status: 201,
  },
])

const workers = forOperators('Workers', [
  {
    method: 'get',
    path: '/admin/workers',
    summary: 'Enrolled workers, page by page',
    scope: 'workers:read',
    query: Page,
  },
  {
    method: 'post',
    path: '/admin/workers',
    summary: 'Enrols a worker; its key is shown',
    scope: 'workers:write',
    body: EnrolWorker,
    status: 201,
  },
  {
    method: 'get',
    path: '/admin/workers/{workerId}',
    summary: 'One worker: what it is enrolled for, its state, and why it gets no requests',
    scope: 'workers:read',
  },
  {
    method: 'patch',
    path: '/admin/workers/{workerId}',
    summary: 'Changes the address, pools, models or slots that a worker may have',
    scope: 'workers:write',
    body: ChangeWorker,
  },
  {
    method: 'post',
    path: '/admin/workers/{workerId}/rotate',
    summary: 'A new key for a worker',
    scope: 'workers:write',
    body: RotateBody,
    status: 201,
  },
  {
    method: 'post',
    path: '/admin/workers/{workerId}/revoke',
    summary: 'Keeps a worker out from now on',
    scope: 'workers:write',
  },
  {
    method: 'get',
    path: '/admin/pools',
    summary: 'Workers, slots and queues, now',
    scope: 'workers:read',
  },
  {
    method: 'get',
    path: '/admin/requests/{requestId}',
    summary: 'Why a request went where it went, and what was booked',
    scope: 'tenants:read',
    query: RequestQuery,
  },
  {
    method: 'get',
    path: '/admin/receipts',
    summary: 'Receipts that the gateway refused, newest first',
    description: 'Each with its reason, its worker, and all that it says. The oldest of a worker are dropped first.',
    scope: 'tenants:read',
    query: ReceiptsQuery,
  },
  {
    method: 'get',
    path: '/admin/receipts/{dispatchId}',
    summary: 'One refused receipt',
    scope: 'tenants:read',
    query: ReceiptQuery,
  },
  {
    method: 'post',
    path: '/admin/receipts/{dispatchId}/settle',
    summary: 'Books a refused receipt, with corrected counts where they are given',
    description:
      'The price is the tenant’s own, and the cost stays within what the request had reserved. Repeating it books nothing more.',
    scope: 'money:write',
    body: SettleReceipt,
  },
  {
    method: 'delete',
    path: '/admin/receipts/{dispatchId}',
    summary: 'Dismisses a refused receipt',
    scope: 'money:write',
    query: ReceiptQuery,
    status: 204,
    answer: 'nothing',
  },
])

const operators = forOperators('Operators', [
  { method: 'get', path: '/admin/operators', summary: 'Operators’ keys', scope: 'operators:write' },
  {
    method: 'post',
    path: '/admin/operators',
    summary: 'A new operator key; it is shown this once',
    scope: 'operators:write',
    body: NewOperator,
    status: 201,
  },
  {
    method: 'delete',
    path: '/admin/operators/{keyId}',
    summary: 'Revokes an operator key',
    scope: 'operators:write',
  },
  {
    method: 'get',
    path: '/admin/audit',
    summary: 'Who changed what, newest first',
    scope: 'audit:read',
    query: AuditQuery,
  },
])

const open = (operation: Omit<Operation, 'auth' | 'method'>): Operation => ({
  method: 'get',
  auth: 'none',
  ...operation,
})
const others: Operation[] = [
  open({
    path: '/healthz',
    tag: 'Health',
    summary: 'Check that a worker is up; 503 when none is',
    answer: Health,
  }),
  open({ path: '/', tag: 'Documents', summary: 'Redirects to the documentation', answer: 'text' }),
  open({ path: '/docs', tag: 'Documents', summary: 'The overview of the documentation', answer: 'text' }),
  open({ path: '/docs/{page}', tag: 'Documents', summary: 'A page of the documentation', answer: 'text' }),
  open({ path: '/openapi.json', tag: 'Documents', summary: 'The users’ routes as OpenAPI 3.1', answer: 'object' }),
  open({
    path: '/openapi/operators.json',
    tag: 'Documents',
    summary: 'The operators’ routes as OpenAPI 3.1',
    answer: 'object',
  }),
  open({
    path: '/llms.txt',
    tag: 'Documents',
    summary: 'What a language model is to know of this service',
    answer: 'text',
  }),
  {
    method: 'post',
    path: heartbeatPath,
    tag: 'Internal',
    summary: 'A worker’s word on its state, sealed',
    description: `What is sealed: ${Object.keys(Heartbeat.shape).join(', ')}.`,
    auth: 'worker',
    sealed: true,
    answer: HeartbeatAnswer,
  },
  {
    method: 'post',
    path: receiptsPath,
    tag: 'Internal',
    summary: 'A worker’s receipts, sealed',
    auth: 'worker',
    sealed: true,
    answer: 'object',
  },
]

export const operations: readonly Operation[] = [
  ...chat,
  ...models,
  ...ownRoutes,
  ...tenants,
  ...keys,
  ...prices,
  ...money,
  ...workers,
  ...operators,
  ...others,
]
