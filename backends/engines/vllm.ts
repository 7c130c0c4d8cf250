/**
 * vLLM's OpenAI server. Run with vLLM 0.32.0; its flags and requests are read from 0.33.0.
 *
 * - Effort: `reasoning_effort` goes to the tokenizer, which accepts only `none` and `high` for Small 4.
 * - Reasoning arrives, and is sent back, as `reasoning`. Older versions wrote `reasoning_content`, which is read too.
 * - A schema or a forced call takes effect after reasoning ends. Without reasoning it never would, so at effort `none`
 *   the adapter sends `include_reasoning: false`.
 * - With `continuous_usage_stats` each delta carries the totals so far. Deltas without visible text are not sent; the
 *   next total includes their tokens. Cached tokens are only on the last chunk, and only with
 *   `--enable-prompt-tokens-details`.
 * - `/tokenize` counts a prompt, with the effort as a template argument. Mistral's own tokenizer may refuse template
 *   arguments; then the effort is left out. The count is the same, because Small 4's settings block has one length.
 * - A lower priority is served first. Any value but 0 is an error without `--scheduling-policy priority`.
 * - `cache_salt` separates tenants' prefixes. Closing the connection ends the answer within one step. `/abort_requests`
 *   is not used: with an empty list it aborts all requests.
 */
import { z } from 'zod'
import {
  type Attached,
  capabilities,
  type Fault,
  type HttpAnswer,
  type HttpBackend,
  type LaunchSettings,
  type RequestTerms,
} from '../contract/backend.ts'
import { get, post } from '../contract/http-call.ts'
import { healthByStatus, loadByMetrics } from '../contract/load.ts'
import { isOlder } from '../contract/version.ts'
import type { Chat } from '../model/chat.ts'
import { anyImage } from '../model/image.ts'
import { openaiReader, parseJson } from './openai/answer.ts'
import { type EngineDialect, openaiPrompt, openaiRequest, plainDialect, postPrompt } from './openai/body.ts'
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
  images: anyImage,
  seed: true,
  penalties: true,
  stopsMax: 16,
  prefix: true,
  cacheSalt: true,
})

const effort = (terms: RequestTerms) => ({ reasoning_effort: terms.effort })
const dialect: EngineDialect = {
  ...plainDialect,
  strictTools: 'sent',
  reasoningHistory: 'reasoning',
  reasoningParts: true,
  prefix: 'continue_final_message',
  extra: (terms, chat, { priority }) => ({
    ...effort(terms),
    ...(terms.effort === 'none' && isHeld(chat) && { include_reasoning: false }),
    stream_options: { include_usage: true, continuous_usage_stats: true },
    request_id: terms.requestId,
    ...(terms.cacheSalt !== '' && { cache_salt: terms.cacheSalt }),
    ...(priority && { priority: terms.priority }),
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

/**
 * vLLM 0.32.0 and 0.33.0 call `get_lark_from_jinja` of mistral-common without `force_tool_names`, an argument that 1.13
 * requires. Neither names an upper bound, so pip installs 1.13, and every chat is a 400 with Python's message.
 */
const grammarSigns = ['get_lark_from_jinja', 'force_tool_names']
const mistralCommon = '"mistral_common>=1.11.6,<1.13"'
const grammarCause = `vLLM does not work with mistral_common 1.13, which it installs by default (TypeError: force_tool_names). Run: uv pip install vllm ${mistralCommon}`

/** Checks whether `/tokenize` accepts template arguments. */
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
    prompt: 'reported',
    cached: 'reported',
    output: 'reported',
    reasoning: 'counted',
    aborted: 'counted',
  },
  remedies: {
    'cached-tokens':
      'start vLLM 0.23 or newer with --enable-prompt-tokens-details; older versions omit them from streams',
    thinking: 'start vLLM with --reasoning-parser mistral',
    tools: 'start vLLM with --enable-auto-tool-choice --tool-call-parser mistral',
    priority: 'start vLLM with --scheduling-policy priority',
    load: 'start vLLM without --disable-log-stats',
    'over-context': 'start vLLM with --max-model-len 262144: the default is the model’s 1,048,576',
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
  count(chat, terms, attached) {
    const prompt = { model: attached.model, ...openaiPrompt(chat, attached.capabilities, dialect) }
    const kwargs = attached.own?.tokenize === 'kwargs' && { chat_template_kwargs: effort(terms) }
    return {
      calls: [postPrompt('/tokenize', { ...prompt, ...kwargs })],
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
  request: (chat, terms, attached) => openaiRequest(chat, terms, attached, dialect),
  reader: (terms, streams, clientNames) => openaiReader({ idSeed: terms.requestId, clientNames }, streams),
  failure: (answer) => openaiFailure(answer, 'vLLM'),
  cause: ({ body }) => (grammarSigns.some((sign) => body.includes(sign)) ? grammarCause : undefined),
  launch(settings) {
    const { model, servedAs, host, port, contextTokens, slotsMax, batchTokens, prefillChunkTokens, apiKey } = settings
    const { performance, speculation, tensorParallel } = settings
    const attention = attentionBackend(settings)
    return {
      command: 'vllm',
      args: [
        ...['serve', model, '--served-model-name', servedAs, '--host', host, '--port', String(port)],
        ...['--max-model-len', String(contextTokens), '--max-num-seqs', String(slotsMax)],
        ...['--max-num-batched-tokens', String(batchTokens)],
        ...(prefillChunkTokens < batchTokens ? longPrompts(prefillChunkTokens) : []),
        // The worker sends at most `slotsMax` requests. The flag bounds the queue of anything else that finds the port.
        ...['--max-num-queued-reqs', String(2 * slotsMax)],
        // `throughput` only doubles limits that are not set, and both are (0.33.0).
        ...(performance === 'latency' ? ['--performance-mode', 'interactivity'] : []),
        ...['--tensor-parallel-size', String(tensorParallel)],
        ...(settings.gpuMemoryUtilisation === null
          ? []
          : ['--gpu-memory-utilization', String(settings.gpuMemoryUtilisation)]),
        ...(attention === null ? [] : ['--attention-backend', attention]),
        ...['--tool-call-parser', 'mistral', '--enable-auto-tool-choice', '--reasoning-parser', 'mistral'],
        ...['--enable-prompt-tokens-details', '--scheduling-policy', 'priority'],
        // One delta per token, because reasoning tokens are counted by delta.
        ...['--stream-interval', '1'],
        ...(speculation ? ['--speculative-config', speculative(speculation, contextTokens)] : []),
        ...settings.extra,
      ],
      env: apiKey === null ? {} : { VLLM_API_KEY: apiKey },
      enables: { priority: true },
      notes: launchNotes(attention),
      readyWithinMs: 45 * 60_000,
    }
  },
}

function longPrompts(thresholdTokens: number): string[] {
  return ['--long-prefill-token-threshold', String(thresholdTokens), '--long-prefill-token-threshold-adaptive']
}

/**
 * Hopper's default, FLASH_ATTN_MLA, runs on no other GPU (0.33.0). Elsewhere vLLM may choose a kernel that was made for
 * the dimensions of DeepSeek; TRITON_MLA takes any, and Mistral's recipe uses it for NVFP4.
 */
function attentionBackend({ quantisation, gpuCapability }: LaunchSettings): 'TRITON_MLA' | null {
  const hopper = gpuCapability === null || Math.floor(gpuCapability) === 9
  return quantisation === 'nvfp4' || !hopper ? 'TRITON_MLA' : null
}

function launchNotes(attention: string | null): string[] {
  return [
    `Install: uv pip install "vllm>=0.33" ${mistralCommon}`,
    'With mistral_common 1.13, which pip takes otherwise, vLLM 0.32.0 and 0.33.0 answer every chat with 400.',
    ...(attention === 'TRITON_MLA'
      ? [
          'TRITON_MLA is the attention kernel for NVFP4 and for GPUs other than Hopper. It does not support a draft model.',
        ]
      : []),
  ]
}

/** vLLM refuses a draft whose context is longer than the model's. */
function speculative(
  { draftModel, tokens, contextTokens }: NonNullable<LaunchSettings['speculation']>,
  modelContextTokens: number,
): string {
  return JSON.stringify({
    model: draftModel,
    num_speculative_tokens: tokens,
    method: 'eagle',
    ...(contextTokens !== null && { max_model_len: Math.min(contextTokens, modelContextTokens) }),
  })
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
  if (version === '') return [degraded(null, 'it reports no version. Use 0.20 or newer for Mistral Small 4.')]
  return [
    ...(version.startsWith('0.18.')
      ? [broken('vLLM 0.18 answers every chat of Mistral Small 4 with 400 (vllm#38560). Use 0.20 or newer.')]
      : []),
    ...(isOlder(version, '0.20')
      ? [
          broken(
            `vLLM ${version} leaks Mistral Small 4’s tool calls and reasoning into the content (vllm#37081, fixed by #39217). Use 0.20 or newer.`,
          ),
        ]
      : []),
    ...(isOlder(version, '0.23')
      ? [degraded('cached-tokens', 'streams omit cached tokens (vllm#44961). Use 0.23 or newer.')]
      : []),
    ...(metrics ? [] : [degraded('load', 'its /metrics does not answer, so its load is unknown')]),
  ]
}
