/**
 * SGLang's OpenAI server. Read from SGLang 0.5.23 (srt/entrypoints/openai/protocol.py, serving_chat.py).
 *
 * - Effort: `reasoning_effort` accepts seven words and a number. The word goes to the template, which for Small 4
 *   raises an error on all but `none` and `high`, so only these two are accepted.
 * - Reasoning arrives, and is sent back, as `reasoning_content`. Reasoning tokens are at the top level of `usage`, and
 *   0 without a parser, so a 0 after reasoning is ignored (token-counter.ts).
 * - A HIGHER priority is served first, unless it runs with `--schedule-low-priority-values-first`; the adapter negates
 *   it.
 * - Errors are flat. An external abort arrives as finish_reason `abort`, which counts as a failure.
 * - `/abort_request` takes the `rid` of one request; `abort_all` is never sent.
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
import { get, post } from '../contract/http-call.ts'
import { healthByStatus, loadByMetrics } from '../contract/load.ts'
import { isOlder } from '../contract/version.ts'
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
  prefix: 'continue_final_message',
  extra: (terms, _chat, { priority }) => ({
    ...effort(terms),
    stream_options: { include_usage: true, continuous_usage_stats: true },
    rid: terms.requestId,
    ...(terms.cacheSalt !== '' && { cache_salt: terms.cacheSalt }),
    ...(priority && { priority: -terms.priority }),
  }),
}

const Info = z.object({
  version: z.string(),
  model_path: z.string().optional(),
  served_model_name: z.string().nullish(),
  context_length: z.int().nullish(),
  max_running_requests: z.int().nullish(),
  reasoning_parser: z.string().nullish(),
  tool_call_parser: z.string().nullish(),
  enable_cache_report: z.boolean().nullish(),
  enable_metrics: z.boolean().nullish(),
  enable_priority_scheduling: z.boolean().nullish(),
  schedule_low_priority_values_first: z.boolean().nullish(),
  speculative_algorithm: z.string().nullish(),
  attention_backend: z.string().nullish(),
})
type Info = z.infer<typeof Info>
const Models = z.object({
  data: z.array(z.object({ id: z.string(), owned_by: z.literal('sglang'), max_model_len: z.int().nullish() })).min(1),
})
const Tokenized = z.object({ count: z.int().min(0) })

export const sglang: HttpBackend = {
  transport: 'http',
  name: 'sglang',
  title: 'SGLang',
  capabilities: can,
  truth: {
    promptBefore: 'counted',
    prompt: 'reported',
    cached: 'reported',
    output: 'reported',
    reasoning: 'reported',
    aborted: 'counted',
  },
  remedies: {
    'cached-tokens': 'start SGLang with --enable-cache-report',
    thinking: 'start SGLang with --reasoning-parser mistral',
    tools: 'start SGLang with --tool-call-parser mistral',
    load: 'start SGLang with --enable-metrics',
    priority: 'start SGLang with --enable-priority-scheduling',
    'over-context': 'start SGLang with --context-length 262144',
  },
  attach: {
    calls: [get('/server_info'), get('/get_server_info'), get('/v1/models')],
    read: ([info, older, models]) => attached(info?.status === 200 ? info : older, models),
  },
  health: healthByStatus,
  load: loadByMetrics('sglang', {
    running: ['num_running_reqs'],
    waiting: ['num_queue_reqs'],
    kvUsed: ['token_usage'],
    promptTokensTotal: ['prompt_tokens_total'],
    cachedTokensTotal: ['cached_tokens_total'],
    outputTokensTotal: ['generation_tokens_total'],
  }),
  count(chat, terms, attached) {
    const prompt = { model: attached.model, ...openaiPrompt(chat, attached.capabilities, dialect), ...effort(terms) }
    return {
      calls: [postPrompt('/tokenize', prompt)],
      read([answer]) {
        // Older versions accept only text and answer 422.
        if (!answer || answer.status === 404 || answer.status === 422) return undefined
        if (answer.status !== 200) return sglang.failure(answer)
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
  failure: (answer) => openaiFailure(answer, 'SGLang'),
  abort: (terms) => post('/abort_request', { rid: terms.requestId }),
  launch(settings) {
    const { model, servedAs, host, port, contextTokens, slotsMax, prefillChunkTokens, apiKey } = settings
    const { speculation, tensorParallel } = settings
    return {
      command: 'python3',
      args: [
        ...['-m', 'sglang.launch_server', '--model-path', model, '--served-model-name', servedAs],
        ...['--host', host, '--port', String(port), '--context-length', String(contextTokens)],
        // Not --max-prefill-tokens: the real bound is never below the context length (0.5.23).
        ...['--max-running-requests', String(slotsMax), '--chunked-prefill-size', String(prefillChunkTokens)],
        ...['--tensor-parallel-size', String(tensorParallel)],
        ...['--reasoning-parser', 'mistral', '--tool-call-parser', 'mistral'],
        ...['--enable-cache-report', '--enable-metrics', '--enable-priority-scheduling'],
        ...(speculation ? eagle(speculation) : []),
        ...(apiKey === null ? [] : ['--api-key', apiKey]),
        ...settings.extra,
      ],
      env: {},
      enables: { priority: true },
      notes: [
        'Install: uv pip install "sglang>=0.5.23"',
        ...(settings.quantisation === 'nvfp4' ? ['NVFP4 needs Blackwell GPUs on SGLang.'] : []),
      ],
      readyWithinMs: 45 * 60_000,
    }
  },
}

function eagle({ draftModel, tokens }: { draftModel: string; tokens: number }): string[] {
  return [
    ...['--speculative-algorithm', 'EAGLE', '--speculative-draft-model-path', draftModel],
    ...['--speculative-num-steps', String(tokens), '--speculative-eagle-topk', '1'],
    ...['--speculative-num-draft-tokens', String(tokens + 1)],
  ]
}

function attached(info: HttpAnswer | null | undefined, models: HttpAnswer | null | undefined): Attached | undefined {
  const served = Models.safeParse(parseJson(models?.body ?? '')).data?.data[0]
  if (!served) return undefined
  const reported = Info.safeParse(parseJson(info?.body ?? '')).data
  // With low values first the negated priority would serve the last requests first, so none is sent.
  const priority = Boolean(reported?.enable_priority_scheduling && !reported.schedule_low_priority_values_first)
  return {
    version: reported?.version ?? '',
    model: served.id,
    contextTokens: served.max_model_len ?? reported?.context_length ?? null,
    slotsMax: reported?.max_running_requests ?? null,
    capabilities: { ...can, priority },
    faults: reported ? faults(reported) : [],
  }
}

function faults(reported: Info): Fault[] {
  const { remedies } = sglang
  const lacks = (trait: keyof typeof remedies, what: string): Fault[] => [
    { kind: 'degraded', trait, message: `${what}: ${remedies[trait]}` },
  ]
  const eagleOnTriton = reported.speculative_algorithm && reported.attention_backend === 'triton'
  return [
    ...(isOlder(reported.version, '0.5.8')
      ? [
          {
            kind: 'degraded',
            trait: null,
            message: `SGLang ${reported.version} may not support Mistral Small 4. Use 0.5.8 or newer, as in its cookbook.`,
          } as const,
        ]
      : []),
    ...(eagleOnTriton
      ? [
          {
            kind: 'broken',
            trait: null,
            message:
              'speculation with the Triton MLA backend crashes on Mistral Small 4 (sglang#27367). Choose another --attention-backend, or turn speculation off.',
          } as const,
        ]
      : []),
    ...(reported.reasoning_parser ? [] : lacks('thinking', 'reasoning is not separated from content')),
    ...(reported.tool_call_parser ? [] : lacks('tools', 'tool calls are not parsed')),
    ...(reported.enable_cache_report
      ? []
      : lacks('cached-tokens', 'cached tokens are not reported and are billed as fresh')),
    ...(reported.enable_metrics ? [] : lacks('load', 'its load is unknown')),
    ...(reported.schedule_low_priority_values_first
      ? lacks(
          'priority',
          'it serves low values first, so no priority is sent; remove --schedule-low-priority-values-first',
        )
      : []),
  ]
}
