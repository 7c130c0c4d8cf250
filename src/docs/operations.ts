/**
 * Every route of the gateway, as data, with the schemas that read its requests. `/openapi.json`, the reference under
 * `/docs` and `/llms.txt` are generated from this list; a test compares it with the routes.
 */
import type { z } from 'zod'
import { WireChat } from '../../backends/model/chat.ts'
import { Heartbeat, HeartbeatAnswer, heartbeatPath } from '../../backends/wire/heartbeat.ts'
import { receiptsPath } from '../../backends/wire/receipt.ts'
import { AuditQuery } from '../admin/audit.ts'
import { KeyBody, KeyChangeBody, RateCardBody, RotateBody } from '../admin/bodies.ts'
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
import { Body as ResponsesBody } from '../dialects/openai-responses/body.ts'
import { Page } from '../http/parse.ts'
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
  /** Parameters are in braces. */
  path: string
  tag: Tag
  summary: string
  /** Facts that the schema does not express. */
  description?: string
  auth: 'key' | 'operator' | 'worker' | 'none'
  scope?: Scope
  query?: z.ZodType
  body?: z.ZodType
  /** Field names are snake_case on the wire. */
  snake?: boolean
  /** A signed body that another schema reads. */
  sealed?: boolean
  status?: number
  answer: z.ZodType | 'object' | 'nothing' | 'text'
  /** The answer is a stream of server-sent events if the body requests it. */
  streams?: boolean
  /** Refusals have Anthropic's shape. */
  anthropic?: boolean
}

export const tags = {
  Chat: 'Send requests to the model. All dialects share the same models, limits and prices.',
  Models: 'List and retrieve models.',
  'Your keys and usage': 'For a tenant’s own keys, depending on their role. Field names are snake_case.',
  Tenants: 'For operators. Each route names the scope that it requires.',
  Keys: 'A tenant’s keys, for operators.',
  'Plans and prices': 'For operators.',
  Money: 'Credits and corrections. Amounts are integer nano-dollars. Each id is posted once.',
  Workers: 'Enrolment and state of GPU workers, and refused receipts.',
  Operators: 'Operator keys, and the audit log of operators’ changes.',
  Health: 'Check that the gateway can serve requests.',
  Documents: 'The documentation, for people and for programs.',
  Internal: 'Messages between the gateway and its workers, signed with worker keys.',
} as const
export type Tag = keyof typeof tags

const chat: Operation[] = [
  {
    method: 'post',
    path: '/v1/chat/completions',
    tag: 'Chat',
    summary: 'Create a chat completion (OpenAI)',
    description:
      'Reasoning is in `reasoning_content`, separate from `content`. Each tool call is one complete delta. Send images as ' +
      'data URLs or https addresses (`image_url`), and PDFs as `file` or `document_url`. Tools other than functions are ' +
      'removed, with a warning in `x-tramontane-warnings`.',
    auth: 'key',
    body: WireChat,
    answer: ChatCompletion,
    streams: true,
  },
  {
    method: 'post',
    path: '/v1/messages',
    tag: 'Chat',
    summary: 'Create a message (Anthropic)',
    description:
      'Set `thinking` to get thinking blocks, and send them back unchanged. `output_config.effort` and `thinking` set the ' +
      'effort.',
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
    summary: 'Count the tokens of a prompt (Anthropic)',
    description:
      'An engine that serves the model counts exactly. If no engine can count, or the prompt has images or documents, the ' +
      'result is an upper bound, and `estimated` is true.',
    auth: 'key',
    body: MessagesPrompt,
    answer: TokenCount,
    anthropic: true,
  },
  {
    method: 'post',
    path: '/v1/responses/input_tokens',
    tag: 'Chat',
    summary: 'Count the tokens of a prompt (OpenAI)',
    auth: 'key',
    body: ResponsesBody,
    answer: TokenCount,
  },
  {
    method: 'post',
    path: '/v1/responses',
    tag: 'Chat',
    summary: 'Create a response (OpenAI)',
    description:
      'Reasoning is a separate item with its text. Set `reasoning.summary` to get it as a summary, and `include` ' +
      '`reasoning.encrypted_content` to get it encoded. Tools other than functions and custom tools are removed, with a ' +
      'warning in `x-tramontane-warnings`.',
    auth: 'key',
    body: ResponsesBody,
    answer: ResponseAnswer,
    streams: true,
  },
  {
    method: 'get',
    path: '/v1/responses/{id}',
    tag: 'Chat',
    summary: 'Retrieve a stored response',
    description:
      'Responses are stored for the number of days in the tenant’s setting `responseDays`, unless the request has `store: false`.',
    auth: 'key',
    answer: ResponseAnswer,
  },
  {
    method: 'delete',
    path: '/v1/responses/{id}',
    tag: 'Chat',
    summary: 'Delete a stored response',
    description: 'Deleting a response also ends every conversation that continues from it.',
    auth: 'key',
    answer: 'object',
  },
  {
    method: 'get',
    path: '/v1/responses/{id}/input_items',
    tag: 'Chat',
    summary: 'List the input items of a stored response',
    auth: 'key',
    query: ItemsPage,
    answer: 'object',
  },
  {
    method: 'post',
    path: '/mistral/v1/chat/completions',
    tag: 'Chat',
    summary: 'Create a chat completion (Mistral)',
    description:
      'Reasoning is in chunks of the content, as Mistral’s clients expect. `random_seed`, `prompt_mode` and `safe_prompt` ' +
      'are supported. All other fields are as in Chat Completions.',
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
    summary: 'List models and their aliases',
    description: 'With the header `anthropic-version`, the answer has Anthropic’s shape.',
    auth: 'key',
    answer: ModelList,
  },
  {
    method: 'get',
    path: '/v1/models/{id}',
    tag: 'Models',
    summary: 'Retrieve a model by its id or alias',
    auth: 'key',
    answer: ModelCard,
  },
  {
    method: 'get',
    path: '/mistral/v1/models',
    tag: 'Models',
    summary: 'List models (Mistral)',
    auth: 'key',
    answer: ModelList,
  },
  {
    method: 'get',
    path: '/mistral/v1/models/{id}',
    tag: 'Models',
    summary: 'Retrieve a model (Mistral)',
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
    summary: 'Report tokens and cost by day, key, model, effort, pool and outcome',
    query: UsageParameters,
    answer: UsageReport,
  }),
  own({
    method: 'get',
    path: '/v1/limits',
    summary: 'Retrieve your limits and the remaining amounts',
    answer: 'object',
  }),
  own({
    method: 'get',
    path: '/v1/keys',
    summary: 'List the keys that your key may see',
    query: Page,
    answer: 'object',
  }),
  own({
    method: 'post',
    path: '/v1/keys',
    summary: 'Create a key',
    description: 'The key is shown only once.',
    body: KeyBody,
    snake: true,
    status: 201,
    answer: 'object',
  }),
  own({
    method: 'post',
    path: '/v1/keys/{keyId}/rotate',
    summary: 'Rotate the secret of a key',
    description: 'The new secret is shown only once. The old one stays valid for `overlap_seconds`.',
    body: RotateBody,
    snake: true,
    status: 201,
    answer: 'object',
  }),
  own({
    method: 'delete',
    path: '/v1/keys/{keyId}',
    summary: 'Revoke a key',
    description: 'Takes effect with the next request.',
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
    summary: 'Create a tenant',
    scope: 'tenants:write',
    body: CreateTenant,
    status: 201,
  },
  {
    method: 'get',
    path: '/admin/tenants',
    summary: 'List tenants',
    scope: 'tenants:read',
    query: Page,
  },
  { method: 'get', path: tenant, summary: 'Retrieve a tenant and its balances', scope: 'tenants:read' },
  {
    method: 'patch',
    path: tenant,
    summary: 'Update a tenant’s name, status, limits or settings',
    scope: 'tenants:write',
    body: ChangeTenant,
  },
  {
    method: 'put',
    path: `${tenant}/plan`,
    summary: 'Assign a plan to a tenant',
    description: 'Copies the plan’s limits and settings. Later changes of the plan do not affect the tenant.',
    scope: 'tenants:write',
    body: AssignPlan,
  },
  {
    method: 'get',
    path: `${tenant}/requests/{requestId}`,
    summary: 'List the ledger entries of a request',
    scope: 'tenants:read',
  },
  {
    method: 'get',
    path: `${tenant}/verification`,
    summary: 'Verify a tenant’s ledger',
    scope: 'tenants:read',
  },
  {
    method: 'get',
    path: `${tenant}/usage`,
    summary: 'Report a tenant’s usage',
    scope: 'usage:read',
    query: UsageParameters,
    answer: UsageReport,
  },
  {
    method: 'get',
    path: `${tenant}/members`,
    summary: 'List members of a tenant',
    scope: 'tenants:read',
    query: Page,
  },
  {
    method: 'post',
    path: `${tenant}/members`,
    summary: 'Add a member to a tenant',
    scope: 'members:write',
    body: AddMember,
    status: 201,
  },
  {
    method: 'patch',
    path: `${tenant}/members/{member}`,
    summary: 'Change a member’s role',
    scope: 'members:write',
    body: ChangeMember,
  },
  {
    method: 'delete',
    path: `${tenant}/members/{member}`,
    summary: 'Remove a member from a tenant',
    scope: 'members:write',
  },
  { method: 'get', path: `${tenant}/meter`, summary: 'Retrieve a tenant’s webhook', scope: 'tenants:read' },
  {
    method: 'put',
    path: `${tenant}/meter`,
    summary: 'Set a tenant’s webhook',
    description: 'From now on, every billed entry is sent to the address.',
    scope: 'tenants:write',
    body: SetMeter,
  },
  { method: 'delete', path: `${tenant}/meter`, summary: 'Remove a tenant’s webhook', scope: 'tenants:write' },
])

const keys = forOperators('Keys', [
  {
    method: 'get',
    path: `${tenant}/keys`,
    summary: 'List a tenant’s keys',
    scope: 'tenants:read',
    query: Page,
  },
  {
    method: 'post',
    path: `${tenant}/keys`,
    summary: 'Create a key',
    description: 'The key is shown only once.',
    scope: 'keys:write',
    body: KeyBody,
    status: 201,
  },
  { method: 'get', path: `${tenant}/keys/{keyId}`, summary: 'Retrieve a key', scope: 'tenants:read' },
  {
    method: 'patch',
    path: `${tenant}/keys/{keyId}`,
    summary: 'Update a key',
    description: 'Fields that are left out do not change.',
    scope: 'keys:write',
    body: KeyChangeBody,
  },
  {
    method: 'post',
    path: `${tenant}/keys/{keyId}/rotate`,
    summary: 'Rotate the secret of a key',
    description: 'The new secret is shown only once. The old one stays valid for `overlapSeconds`.',
    scope: 'keys:write',
    body: RotateBody,
    status: 201,
  },
  {
    method: 'delete',
    path: `${tenant}/keys/{keyId}`,
    summary: 'Revoke a key',
    description: 'Takes effect with the next request.',
    scope: 'keys:write',
  },
])

const prices = forOperators('Plans and prices', [
  {
    method: 'get',
    path: '/admin/plans',
    summary: 'List plans',
    scope: 'tenants:read',
    query: Page,
  },
  {
    method: 'post',
    path: '/admin/plans',
    summary: 'Create a plan',
    scope: 'plans:write',
    body: NewPlan,
    status: 201,
  },
  { method: 'get', path: '/admin/plans/{planId}', summary: 'Retrieve a plan', scope: 'tenants:read' },
  {
    method: 'put',
    path: '/admin/plans/{planId}',
    summary: 'Replace a plan',
    description: 'Tenants with this plan do not change until it is assigned again.',
    scope: 'plans:write',
    body: PlanBody,
  },
  {
    method: 'delete',
    path: '/admin/plans/{planId}',
    summary: 'Delete a plan',
    scope: 'plans:write',
  },
  { method: 'get', path: '/admin/rate-cards', summary: 'List default prices', scope: 'tenants:read' },
  {
    method: 'post',
    path: '/admin/rate-cards',
    summary: 'Add a default price',
    description: 'The price applies from `effectiveAt`, by default now.',
    scope: 'rates:write',
    body: RateCardBody,
    status: 201,
  },
  {
    method: 'post',
    path: '/admin/rate-cards/push',
    summary: 'Apply a default price to existing tenants',
    description: 'Each call handles one page of tenants. Repeat it with `after` until `next` is null.',
    scope: 'rates:write',
    body: WebhookBody,
  },
  {
    method: 'get',
    path: `${tenant}/rate-cards`,
    summary: 'List a tenant’s prices',
    scope: 'tenants:read',
  },
  {
    method: 'post',
    path: `${tenant}/rate-cards`,
    summary: 'Add a price for one tenant',
    scope: 'rates:write',
    body: RateCardBody,
    status: 201,
  },
])

const money = forOperators('Money', [
  {
    method: 'post',
    path: `${tenant}/credits`,
    summary: 'Add credit',
    description: 'Each id is posted once. Repeating a request posts nothing more.',
    scope: 'money:write',
    body: Credit,
    status: 201,
  },
  {
    method: 'post',
    path: `${tenant}/corrections`,
    summary: 'Add a charge or a refund',
    description: 'Each id is posted once. Repeating a request posts nothing more.',
    scope: 'money:write',
    body: Correction,
    status: 201,
  },
])

const workers = forOperators('Workers', [
  {
    method: 'get',
    path: '/admin/workers',
    summary: 'List enrolled workers',
    scope: 'workers:read',
    query: Page,
  },
  {
    method: 'post',
    path: '/admin/workers',
    summary: 'Enrol a worker',
    description: 'The worker key is shown only once.',
    scope: 'workers:write',
    body: EnrolWorker,
    status: 201,
  },
  {
    method: 'get',
    path: '/admin/workers/{workerId}',
    summary: 'Retrieve a worker, its state, and why it gets no requests',
    scope: 'workers:read',
  },
  {
    method: 'patch',
    path: '/admin/workers/{workerId}',
    summary: 'Update the allowed address, pools, models or slots of a worker',
    scope: 'workers:write',
    body: ChangeWorker,
  },
  {
    method: 'post',
    path: '/admin/workers/{workerId}/rotate',
    summary: 'Rotate the key of a worker',
    scope: 'workers:write',
    body: RotateBody,
    status: 201,
  },
  {
    method: 'post',
    path: '/admin/workers/{workerId}/revoke',
    summary: 'Revoke the keys of a worker',
    description: 'The gateway refuses its heartbeats and receipts immediately.',
    scope: 'workers:write',
  },
  {
    method: 'get',
    path: '/admin/pools',
    summary: 'Retrieve the current workers, slots and queues',
    scope: 'workers:read',
  },
  {
    method: 'get',
    path: '/admin/requests/{requestId}',
    summary: 'Explain the routing of a request and list its entries',
    scope: 'tenants:read',
    query: RequestQuery,
  },
  {
    method: 'get',
    path: '/admin/receipts',
    summary: 'List receipts that the gateway refused, newest first',
    description: 'Each has its reason, worker and content. The oldest receipts of a worker are dropped first.',
    scope: 'tenants:read',
    query: ReceiptsQuery,
  },
  {
    method: 'get',
    path: '/admin/receipts/{dispatchId}',
    summary: 'Retrieve a refused receipt',
    scope: 'tenants:read',
    query: ReceiptQuery,
  },
  {
    method: 'post',
    path: '/admin/receipts/{dispatchId}/settle',
    summary: 'Settle a refused receipt, optionally with corrected counts',
    description:
      'The tenant’s own prices apply, and the cost stays within the request’s reservation. Repeating a request posts nothing more.',
    scope: 'money:write',
    body: SettleReceipt,
  },
  {
    method: 'delete',
    path: '/admin/receipts/{dispatchId}',
    summary: 'Dismiss a refused receipt',
    scope: 'money:write',
    query: ReceiptQuery,
    status: 204,
    answer: 'nothing',
  },
])

const operators = forOperators('Operators', [
  { method: 'get', path: '/admin/operators', summary: 'List operator keys', scope: 'operators:write' },
  {
    method: 'post',
    path: '/admin/operators',
    summary: 'Create an operator key',
    description: 'The key is shown only once.',
    scope: 'operators:write',
    body: NewOperator,
    status: 201,
  },
  {
    method: 'delete',
    path: '/admin/operators/{keyId}',
    summary: 'Revoke an operator key',
    scope: 'operators:write',
  },
  {
    method: 'get',
    path: '/admin/audit',
    summary: 'List changes by operators and tenants, newest first',
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
    summary: 'Check that a worker is up',
    description: 'Returns 503 if no worker is up.',
    answer: Health,
  }),
  open({ path: '/', tag: 'Documents', summary: 'Redirect to the documentation', answer: 'text' }),
  open({ path: '/docs', tag: 'Documents', summary: 'Open the overview of the documentation', answer: 'text' }),
  open({ path: '/docs/{page}', tag: 'Documents', summary: 'Open a page of the documentation', answer: 'text' }),
  open({
    path: '/openapi.json',
    tag: 'Documents',
    summary: 'Retrieve the users’ routes as OpenAPI 3.1',
    answer: 'object',
  }),
  open({
    path: '/openapi/operators.json',
    tag: 'Documents',
    summary: 'Retrieve the operators’ routes as OpenAPI 3.1',
    answer: 'object',
  }),
  open({
    path: '/llms.txt',
    tag: 'Documents',
    summary: 'Retrieve a description of this service for language models',
    answer: 'text',
  }),
  {
    method: 'post',
    path: heartbeatPath,
    tag: 'Internal',
    summary: 'Report the state of a worker',
    description: `Signed fields: ${Object.keys(Heartbeat.shape).join(', ')}.`,
    auth: 'worker',
    sealed: true,
    answer: HeartbeatAnswer,
  },
  {
    method: 'post',
    path: receiptsPath,
    tag: 'Internal',
    summary: 'Deliver the receipts of a worker',
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
