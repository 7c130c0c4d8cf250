/**
 * vLLM's OpenAI server. Read from, and run with, vLLM 0.32.0.
 *
 * - Effort: `reasoning_effort` goes to the tokenizer, which takes `none` and `high` for Small 4 and refuses the rest.
 * - Thinking comes as `reasoning`, and goes back as `reasoning`; older versions said `reasoning_content`, which is read
 *   too.
 * - A schema, or a forced call, begins to bind when thinking has ended. Without thinking it would never begin, so at
 *   effort `none` it is told that there is none (`include_reasoning: false`).
 * - It counts with `continuous_usage_stats`: each delta carries the totals so far. Deltas in which nothing can be shown
 *   are not sent, and the next total has their tokens. Cached tokens come on the last chunk only, and only with
 *   `--enable-prompt-tokens-details`.
 * - A prompt is counted by `/tokenize`, with the effort as an argument of the template. A tokenizer of Mistral's own may
 *   take no such arguments; then it is left out, and the count is the same: Small 4's block of settings is as long for
 *   both values.
 * - A lower priority is served first; any but 0 is an error unless it runs with `--scheduling-policy priority`.
 * - `cache_salt` keeps tenants' prefixes apart. Closing the connection ends the answer within one step.
 *   `/abort_requests` is not used: with an empty list it ends everybody's.
 */
import { z } from 'zod'
import {
  type Attached,
  capabilities,
  type Fault,
  type HttpAnswer,
  type HttpBackend,
  type RequestTerms,
} from '../contract/backend.ts'
import { healthByStatus, loadByMetrics } from '../contract/load.ts'
import { isOlder } from '../contract/version.ts'
import type { Chat } from '../model/chat.ts'
import { openaiReader, parseJson } from './openai/answer.ts'
import { type EngineDialect, get, openaiPrompt, openaiRequest, plainDialect, post } from './openai/body.ts'
import { openaiFailure } from './openai/failure.ts'

const can = capabilities({
  efforts: ['none', 'high'],
  reasoning: true,
  reasoningHistory: true,
  tools: true,
  parallelTools: true,
  forcedTool: true,
  jsonObject: true,
  jsonSchema: true,
  vision: true,
  seed: true,
  penalties: true,
  stopsMax: 16,
  prefix: true,
  cacheSalt: true,
})

const effort = (order: RequestTerms) => ({ reasoning_effort: order.effort })
const dialect: EngineDialect = {
  ...plainDialect,
  reasoningHistory: 'reasoning',
  prefix: 'continue_final_message',
  extra: (order, chat, { priority }) => ({
    ...effort(order),
    ...(order.effort === 'none' && isHeld(chat) && { include_reasoning: false }),
    stream_options: { include_usage: true, continuous_usage_stats: true },
    request_id: order.requestId,
    ...(order.cacheSalt !== '' && { cache_salt: order.cacheSalt }),
    ...(priority && { priority: order.priority }),
  }),
}

function isHeld({ format, toolChoice }: Chat): boolean {
  return format.kind !== 'text' || toolChoice.kind === 'required' || toolChoice.kind === 'named'
}

const Version = z.object({ version: z.string() })
const Models = z.object({
  data: z
    .array(z.object({ id: z.string(), owned_by: z.literal('vllm'), max_model_len: z.int().min(1).nullish() }))
    .min(1),
})
const Tokenized = z.object({ count: z.int().min(0) })

/** Whether `/tokenize` takes arguments of the template. */
const tokenizeTrial = post('/tokenize', {
  messages: [{ role: 'user', content: 'a' }],
  chat_template_kwargs: { reasoning_effort: 'none' },
})

export const vllm: HttpBackend = {
  transport: 'http',
  name: 'vllm',
  title: 'vLLM',
  capabilities: can,
  truth: {
    promptBefore: 'counted',
    prompt: 'told',
    cached: 'told',
    output: 'told',
    reasoning: 'counted',
    aborted: 'counted',
  },
  remedies: {
    'cached-tokens':
      'start vLLM with --enable-prompt-tokens-details; 0.23 or newer, older ones leave it out of streams',
    thinking: 'start vLLM with --reasoning-parser mistral',
    tools: 'start vLLM with --enable-auto-tool-choice --tool-call-parser mistral',
    priority: 'start vLLM with --scheduling-policy priority',
    load: 'start vLLM without --disable-log-stats',
    'over-context': 'start vLLM with --max-model-len 262144: the model’s own is 1,048,576',
  },
  attach: {
    calls: [get('/version'), get('/v1/models'), tokenizeTrial, get('/metrics')],
    read: ([version, models, trial, metrics]) => attached(version, models, trial, metrics),
  },
  health: healthByStatus,
  load: loadByMetrics('vllm', {
    running: ['num_requests_running'],
    waiting: ['num_requests_waiting'],
    kvUsed: ['kv_cache_usage_perc', 'gpu_cache_usage_perc'],
    promptTokensTotal: ['prompt_tokens_total'],
    cachedTokensTotal: ['prompt_tokens_cached_total', 'prefix_cache_hits_total'],
    outputTokensTotal: ['generation_tokens_total'],
  }),
  count(chat, order, attached) {
    const prompt = { model: attached.model, ...openaiPrompt(chat, attached.capabilities, dialect) }
    const kwargs = attached.own?.tokenize === 'kwargs' && { chat_template_kwargs: effort(order) }
    return {
      calls: [post('/tokenize', { ...prompt, ...kwargs })],
      read([answer]) {
        if (!answer || answer.status === 404 || answer.status === 405) return undefined
        if (answer.status !== 200) return vllm.failure(answer)
        return Tokenized.safeParse(parseJson(answer.body)).data?.count
      },
    }
  },
  countText: (text, attached) => ({
    calls: [post('/tokenize', { model: attached.model, prompt: text, add_special_tokens: false })],
    read: ([answer]) => Tokenized.safeParse(parseJson(answer?.body ?? '')).data?.count,
  }),
  request: (chat, order, attached) => openaiRequest(chat, order, attached, dialect),
  reader: (order, streams) => openaiReader({ idSeed: order.requestId }, streams),
  failure: (answer) => openaiFailure(answer, 'vLLM'),
  launch(settings) {
    const { model, servedAs, host, port, contextTokens, slotsMax, batchTokens, prefillChunkTokens, apiKey } = settings
    const { performance, speculation, tensorParallel } = settings
    return {
      command: 'vllm',
      args: [
        ...['serve', model, '--served-model-name', servedAs, '--host', host, '--port', String(port)],
        ...['--max-model-len', String(contextTokens), '--max-num-seqs', String(slotsMax)],
        ...['--max-num-batched-tokens', String(batchTokens)],
        ...['--long-prefill-token-threshold', String(prefillChunkTokens)],
        ...['--performance-mode', performance === 'latency' ? 'interactivity' : 'throughput'],
        ...['--tensor-parallel-size', String(tensorParallel)],
        ...['--tool-call-parser', 'mistral', '--enable-auto-tool-choice', '--reasoning-parser', 'mistral'],
        ...['--enable-prompt-tokens-details', '--scheduling-policy', 'priority'],
        // Each token on its own: thinking is told from content by the deltas.
        ...['--stream-interval', '1'],
        ...(speculation ? ['--speculative-config', speculative(speculation)] : []),
        ...settings.extra,
      ],
      env: apiKey === null ? {} : { VLLM_API_KEY: apiKey },
      enables: { priority: true },
      readyWithinMs: 45 * 60_000,
    }
  },
}

function speculative({ draftModel, tokens }: { draftModel: string; tokens: number }): string {
  return JSON.stringify({ model: draftModel, num_speculative_tokens: tokens, method: 'eagle' })
}

function attached(
  version: HttpAnswer | null | undefined,
  models: HttpAnswer | null | undefined,
  trial: HttpAnswer | null | undefined,
  metrics: HttpAnswer | null | undefined,
): Attached | undefined {
  const served = Models.safeParse(parseJson(models?.body ?? '')).data?.data[0]
  if (!served) return undefined
  const reported = Version.safeParse(parseJson(version?.body ?? '')).data?.version ?? ''
  return {
    version: reported,
    model: served.id,
    contextTokens: served.max_model_len ?? null,
    slotsMax: null,
    capabilities: can,
    faults: faults(reported, metrics?.status === 200),
    own: { tokenize: trial?.status === 200 ? 'kwargs' : 'plain' },
  }
}

function faults(version: string, metrics: boolean): Fault[] {
  const broken = (message: string): Fault => ({ kind: 'broken', trait: null, message })
  const degraded = (trait: Fault['trait'], message: string): Fault => ({ kind: 'degraded', trait, message })
  if (version === '') return [degraded(null, 'its version is not told: use 0.20 or newer for Mistral Small 4')]
  return [
    ...(version.startsWith('0.18.')
      ? [broken('vLLM 0.18 answers every chat of Mistral Small 4 with 400 (vllm#38560): use 0.20 or newer')]
      : []),
    ...(isOlder(version, '0.20')
      ? [
          broken(
            `vLLM ${version} leaks Mistral Small 4’s tool calls into the content and does not part its thinking (vllm#37081, fixed by #39217): use 0.20 or newer`,
          ),
        ]
      : []),
    ...(isOlder(version, '0.23')
      ? [degraded('cached-tokens', 'cached tokens are missing from streams (vllm#44961): use 0.23 or newer')]
      : []),
    ...(metrics ? [] : [degraded('load', 'its /metrics does not answer, so its load is not known')]),
  ]
}
