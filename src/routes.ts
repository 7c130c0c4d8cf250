/** All routes of the gateway. Each handler only connects HTTP to one module. */
import type { Context } from 'hono'
import { z } from 'zod'
import { budgets } from '../backends/model/budgets.ts'
import { WireChat } from '../backends/model/chat.ts'
import { Heartbeat, HeartbeatAnswer, heartbeatPath } from '../backends/wire/heartbeat.ts'
import { ReceiptsAnswer, ReceiptsCall, receiptsPath } from '../backends/wire/receipt.ts'
import { ownRoutes } from './account/routes.ts'
import { operatorRoutes } from './admin/admin.ts'
import { authenticate } from './auth/authenticate.ts'
import { billingRoutes } from './billing/routes.ts'
import { chat } from './chat/chat.ts'
import { type RequestContext, startRequest } from './chat/context.ts'
import { countTokens } from './chat/count-tokens.ts'
import { settings } from './config.ts'
import { Message, MessageEvent, MessageTokens } from './dialects/anthropic/answer.ts'
import { messages } from './dialects/anthropic/dialect.ts'
import { Body as MessagesBody, CountBody as MessagesPrompt } from './dialects/anthropic/read.ts'
import type { Dialect } from './dialects/dialect.ts'
import { MistralChatCompletion, MistralChatCompletionEvent } from './dialects/mistral/answer.ts'
import { Body as MistralBody, mistral } from './dialects/mistral/dialect.ts'
import { ChatCompletion, ChatCompletionEvent } from './dialects/openai-chat/answer.ts'
import { chatCompletions } from './dialects/openai-chat/dialect.ts'
import { Completion, CompletionEvent } from './dialects/openai-completions/answer.ts'
import { Body as CompletionsBody, completions } from './dialects/openai-completions/dialect.ts'
import { ResponseAnswer, ResponseEvent, ResponseTokens } from './dialects/openai-responses/answer.ts'
import { Body as ResponsesBody } from './dialects/openai-responses/body.ts'
import { responses } from './dialects/openai-responses/dialect.ts'
import { isAnthropic } from './dialects/registry.ts'
import { docsRoutes } from './docs/docs.ts'
import { documentRoutes } from './docs/texts.ts'
import type { Env } from './env.ts'
import { isReady } from './fleet/health.ts'
import { takeHeartbeat } from './fleet/heartbeats.ts'
import { readJsonBody } from './http/body.ts'
import { anthropicModel, anthropicModels, listModels, type ModelRates, showModel } from './http/models.ts'
import {
  AnthropicModel,
  AnthropicModelList,
  AnthropicRefusal,
  Health,
  ModelCard,
  ModelList,
  Refusal,
} from './http/response-schemas.ts'
import { type Operation, type Route, routesIn } from './http/route.ts'
import { storedResponses } from './responses/routes.ts'
import { settleReceipts } from './settlement/receipts.ts'
import { identifyReader } from './tenant/key-check.ts'
import { accept, tenantStub } from './tenant/stub.ts'

export type Bindings = { Bindings: Env; Variables: { requestId: string } }

const route = routesIn<Bindings>()

async function begin(context: Context<Bindings>, dialect: Dialect): Promise<RequestContext> {
  const { executionCtx, env, req } = context
  const requestContext = startRequest(
    req.raw,
    dialect,
    env,
    await settings(env),
    (work) => executionCtx.waitUntil(work),
    Date.now(),
  )
  context.set('requestId', requestContext.requestId)
  return requestContext
}

const rateHeaders = {
  'x-ratelimit-limit-requests': 'The key’s limit of requests a minute. Absent without a limit, like the other five.',
  'x-ratelimit-remaining-requests': 'The requests that remain.',
  'x-ratelimit-reset-requests': 'The time until all requests remain, for example `6s` or `120ms`.',
  'x-ratelimit-limit-tokens': 'The key’s limit of tokens a minute.',
  'x-ratelimit-remaining-tokens': 'The tokens that remain.',
  'x-ratelimit-reset-tokens': 'The time until all tokens remain.',
}
const warnings = 'The fields of the request that were ignored or changed. Absent if there are none.'
const answerHeaders = {
  ...rateHeaders,
  'x-tramontane-model': 'The model that answers.',
  'x-tramontane-model-asked': 'The alias that the request names, if it names one.',
  'x-tramontane-effort': 'The effort that serves the request.',
  'x-tramontane-effort-asked': 'The effort that the request asks for, if it asks for one.',
  'x-tramontane-pool': 'The pool that answers. Absent if the request waits for a slot when the headers are sent.',
  'x-tramontane-warnings': warnings,
  'idempotency-replayed': '`true` if the answer is a repeated one, for a request with the same `idempotency-key`.',
}
const countHeaders = {
  ...rateHeaders,
  'x-tramontane-estimated': '`true` if the count is an upper bound.',
  'x-tramontane-warnings': warnings,
}

/** The status is sent before the answer is complete, so an error may follow it. */
const lateRefusal = (answer: z.ZodType) => [{ status: 200, answer }]

const question = [{ role: 'user', content: 'What is 478 + 356?' }]
const model = 'mistral-small-4'

type ChatOperation = Omit<Operation, 'method' | 'tag' | 'auth' | 'readsItself'>

/** The handler reads the body itself, because it is bounded, counted and possibly rewritten while it is read. */
function chatRoute(operation: ChatOperation, handle: (context: Context<Bindings>) => Promise<Response>): Route {
  return route({ method: 'post', tag: 'Chat', auth: 'key', readsItself: true, ...operation }, handle)
}

function answering(dialect: Dialect) {
  return async (context: Context<Bindings>): Promise<Response> => {
    const requestContext = await begin(context, dialect)
    const answer = chat(context.req.raw, requestContext)
    // Held from the start: when a client leaves, workerd drops all work that `waitUntil` does not hold.
    requestContext.waitUntil(answer.catch(() => undefined))
    return answer
  }
}

function counting(dialect: Dialect) {
  return async (context: Context<Bindings>): Promise<Response> =>
    countTokens(context.req.raw, await begin(context, dialect))
}

const chatRoutes: readonly Route[] = [
  chatRoute(
    {
      path: '/v1/chat/completions',
      id: 'createChatCompletion',
      summary: 'Create a chat completion (OpenAI)',
      description:
        'Reasoning is in `reasoning_content`, separate from `content`. Each tool call is one complete delta. Send images as ' +
        'data URLs or https addresses (`image_url`), and PDFs as `file` or `document_url`. Tools other than functions are ' +
        'removed, with a warning in `x-tramontane-warnings`. A stream ends with `data: [DONE]`.',
      body: WireChat,
      example: { model, messages: question, max_completion_tokens: 100, reasoning_effort: 'none' },
      answer: ChatCompletion,
      otherAnswers: lateRefusal(Refusal),
      headers: answerHeaders,
      streams: true,
      streamEvent: ChatCompletionEvent,
    },
    answering(chatCompletions),
  ),
  chatRoute(
    {
      path: '/v1/messages',
      id: 'createMessage',
      summary: 'Create a message (Anthropic)',
      description:
        'Set `thinking` to get thinking blocks, and send them back unchanged. `output_config.effort` and `thinking` set the ' +
        'effort.',
      body: MessagesBody,
      example: { model, messages: question, max_tokens: 1_000, thinking: { type: 'adaptive' } },
      answer: Message,
      otherAnswers: lateRefusal(AnthropicRefusal),
      headers: answerHeaders,
      streams: true,
      streamEvent: MessageEvent,
      anthropic: true,
    },
    answering(messages),
  ),
  chatRoute(
    {
      path: '/v1/messages/count_tokens',
      id: 'countMessageTokens',
      summary: 'Count the tokens of a prompt (Anthropic)',
      description:
        'An engine that serves the model counts exactly. If no engine can count, or the prompt has images or documents, the ' +
        'result is an upper bound, and `estimated` is true.',
      body: MessagesPrompt,
      example: { model, messages: question },
      answer: MessageTokens,
      headers: countHeaders,
      anthropic: true,
    },
    counting(messages),
  ),
  chatRoute(
    {
      path: '/v1/responses/input_tokens',
      id: 'countResponseTokens',
      summary: 'Count the tokens of a prompt (OpenAI)',
      body: ResponsesBody,
      example: { model, input: 'What is 478 + 356?' },
      answer: ResponseTokens,
      headers: countHeaders,
    },
    counting(responses),
  ),
  chatRoute(
    {
      path: '/v1/responses',
      id: 'createResponse',
      summary: 'Create a response (OpenAI)',
      description:
        'Reasoning is a separate item with its text. Set `reasoning.summary` to get it as a summary, and `include` ' +
        '`reasoning.encrypted_content` to get it encoded. Tools other than functions and custom tools are removed, with a ' +
        'warning in `x-tramontane-warnings`.',
      body: ResponsesBody,
      example: { model, input: 'What is 478 + 356?', max_output_tokens: 1_000, reasoning: { effort: 'high' } },
      answer: ResponseAnswer,
      otherAnswers: lateRefusal(Refusal),
      headers: answerHeaders,
      streams: true,
      streamEvent: ResponseEvent,
    },
    answering(responses),
  ),
  ...storedResponses,
  chatRoute(
    {
      path: '/v1/completions',
      id: 'createCompletion',
      summary: 'Create a completion (OpenAI, older form)',
      description:
        'The prompt is sent to the model as one message of the user, with the effort `none` unless `reasoning_effort` asks ' +
        'for more. `echo`, `logprobs`, `suffix`, token ids and several prompts are refused. A stream ends with `data: [DONE]`.',
      body: CompletionsBody,
      example: { model, prompt: 'What is 478 + 356?', max_tokens: 100 },
      answer: Completion,
      otherAnswers: lateRefusal(Refusal),
      headers: answerHeaders,
      streams: true,
      streamEvent: CompletionEvent,
    },
    answering(completions),
  ),
  chatRoute(
    {
      path: '/mistral/v1/chat/completions',
      id: 'createMistralChatCompletion',
      summary: 'Create a chat completion (Mistral)',
      description:
        'Reasoning is in chunks of the content, as Mistral’s clients expect. `random_seed`, `prompt_mode` and `safe_prompt` ' +
        'are supported. All other fields are as in Chat Completions. A stream ends with `data: [DONE]`.',
      body: MistralBody,
      example: { model, messages: question, max_tokens: 1_000, prompt_mode: 'reasoning' },
      answer: MistralChatCompletion,
      otherAnswers: lateRefusal(Refusal),
      headers: answerHeaders,
      streams: true,
      streamEvent: MistralChatCompletionEvent,
    },
    answering(mistral),
  ),
]

/** The models that this key may use, and their prices. */
async function modelsOf({ env, req }: Context<Bindings>): Promise<[offered: readonly string[], rates: ModelRates]> {
  const gateway = await settings(env)
  const { models } = gateway
  const key = await authenticate(req.raw.headers, gateway)
  const { models: allowed = null } = await identifyReader(env, key)
  const { tenantId, ...requester } = key
  const prices = accept(await tenantStub(env, tenantId).prices({ kind: 'key', ...requester }))
  const inForce = prices.filter((price) => price.inForce && price.servedBy === 'workers')
  return [
    allowed ? models.filter((id) => allowed.includes(id)) : models,
    new Map(inForce.map(({ model, rates }) => [model, rates])),
  ]
}

const ModelName = z
  .string()
  .describe('Id or alias of the model.')
  .meta({ examples: ['mistral-small-4'] })

const modelRoutes: readonly Route[] = [
  route(
    {
      method: 'get',
      path: '/v1/models',
      id: 'listModels',
      tag: 'Models',
      summary: 'List models and their aliases',
      description: 'With the header `anthropic-version`, the answer has Anthropic’s shape.',
      auth: 'key',
      answer: ModelList,
      otherAnswers: [{ status: 200, answer: AnthropicModelList }],
      anthropic: 'by header',
    },
    async (context) => {
      const list = isAnthropic(context.req.raw) ? anthropicModels : listModels
      return context.json(list(...(await modelsOf(context))))
    },
  ),
  route(
    {
      method: 'get',
      path: '/v1/models/{id}',
      params: { id: ModelName },
      id: 'retrieveModel',
      tag: 'Models',
      summary: 'Retrieve a model by its id or alias',
      description: 'With the header `anthropic-version`, the answer has Anthropic’s shape.',
      auth: 'key',
      answer: ModelCard,
      otherAnswers: [{ status: 200, answer: AnthropicModel }],
      anthropic: 'by header',
    },
    async (context, { params }) => {
      const show = isAnthropic(context.req.raw) ? anthropicModel : showModel
      const [offered, rates] = await modelsOf(context)
      return context.json(show(offered, params.id, rates))
    },
  ),
  route(
    {
      method: 'get',
      path: '/mistral/v1/models',
      id: 'listMistralModels',
      tag: 'Models',
      summary: 'List models (Mistral)',
      auth: 'key',
      answer: ModelList,
    },
    async (context) => context.json(listModels(...(await modelsOf(context)))),
  ),
  route(
    {
      method: 'get',
      path: '/mistral/v1/models/{id}',
      params: { id: ModelName },
      id: 'retrieveMistralModel',
      tag: 'Models',
      summary: 'Retrieve a model (Mistral)',
      auth: 'key',
      answer: ModelCard,
    },
    async (context, { params }) => {
      const [offered, rates] = await modelsOf(context)
      return context.json(showModel(offered, params.id, rates))
    },
  ),
]

const health = route(
  {
    method: 'get',
    path: '/healthz',
    id: 'retrieveHealth',
    tag: 'Health',
    summary: 'Check that a worker is up',
    auth: 'none',
    answer: Health,
    otherAnswers: [{ status: 503, answer: Health, description: 'No worker is up' }],
  },
  async (context) => {
    await settings(context.env)
    const ready = await isReady(context.env)
    return context.json({ status: ready ? 'ok' : 'no worker is up' }, ready ? 200 : 503)
  },
)

const workerRoutes: readonly Route[] = [
  route(
    {
      method: 'post',
      path: heartbeatPath,
      id: 'sendHeartbeat',
      tag: 'Internal',
      summary: 'Report the state of a worker',
      description: `Signed fields: ${Object.keys(Heartbeat.shape).join(', ')}.`,
      auth: 'worker',
      sealed: true,
      answer: HeartbeatAnswer,
    },
    async (context) => {
      const body = await readJsonBody(context.req.raw, { bytesMax: budgets.internalBodyBytes.value })
      const after = (work: Promise<unknown>) => context.executionCtx.waitUntil(work)
      const { status, answer } = await takeHeartbeat(body.value, context.env, await settings(context.env), after)
      return context.json(answer, status)
    },
  ),
  route(
    {
      method: 'post',
      path: receiptsPath,
      id: 'deliverReceipts',
      tag: 'Internal',
      summary: 'Deliver the receipts of a worker',
      auth: 'worker',
      body: ReceiptsCall,
      readsItself: true,
      answer: ReceiptsAnswer,
    },
    async (context) => {
      const body = await readJsonBody(context.req.raw, { bytesMax: budgets.internalBodyBytes.value })
      return context.json(await settleReceipts(body.value, context.env, await settings(context.env)))
    },
  ),
]

export const routes: readonly Route[] = [
  ...chatRoutes,
  ...modelRoutes,
  ...ownRoutes,
  ...billingRoutes,
  ...operatorRoutes,
  health,
  ...docsRoutes(() => routes),
  ...documentRoutes(() => routes),
  ...workerRoutes,
]
