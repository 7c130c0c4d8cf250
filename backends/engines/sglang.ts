/**
 * SGLang's OpenAI server. Read from SGLang 0.5.23 (srt/entrypoints/openai/protocol.py, serving_chat.py).
 *
 * - Effort: `reasoning_effort` takes seven words and a number, and passes the word to the template, which raises for
 *   Small 4 on all but `none` and `high`; only these two are taken.
 * - Thinking comes as `reasoning_content` and goes back as that. Reasoning tokens are at the top of `usage`, and 0
 *   where no parser runs, so a 0 after thinking is not believed (meter.ts).
 * - A HIGHER priority is served first, unless it runs with `--schedule-low-priority-values-first`; ours is turned.
 * - Errors are flat. An abort from outside comes as finish_reason `abort`, which is a failure here.
 * - `/abort_request` takes one request's `rid`; `abort_all` is never sent.
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
  prefix: 'continue_final_message',
  extra: (order, _chat, { priority }) => ({
    ...effort(order),
    stream_options: { include_usage: true, continuous_usage_stats: true },
    rid: order.requestId,
    ...(order.cacheSalt !== '' && { cache_salt: order.cacheSalt }),
    ...(priority && { priority: -order.priority }),
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
    prompt: 'told',
    cached: 'told',
    output: 'told',
    reasoning: 'told',
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
  count(chat, order, attached) {
    const prompt = { model: attached.model, ...openaiPrompt(chat, attached.capabilities, dialect), ...effort(order) }
    return {
      calls: [post('/tokenize', prompt)],
      read([answer]) {
        // Older ones take a text only, and say so with 422.
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
  request: (chat, order, attached) => openaiRequest(chat, order, attached, dialect),
  reader: (order, streams) => openaiReader({ idSeed: order.requestId }, streams),
  failure: (answer) => openaiFailure(answer, 'SGLang'),
  abort: (order) => post('/abort_request', { rid: order.requestId }),
  launch(settings) {
    const { model, servedAs, host, port, contextTokens, slotsMax, batchTokens, prefillChunkTokens, apiKey } = settings
    const { speculation, tensorParallel } = settings
    return {
      command: 'python3',
      args: [
        ...['-m', 'sglang.launch_server', '--model-path', model, '--served-model-name', servedAs],
        ...['--host', host, '--port', String(port), '--context-length', String(contextTokens)],
        ...['--max-running-requests', String(slotsMax), '--max-prefill-tokens', String(batchTokens)],
        ...['--chunked-prefill-size', String(prefillChunkTokens), '--tensor-parallel-size', String(tensorParallel)],
        ...['--reasoning-parser', 'mistral', '--tool-call-parser', 'mistral'],
        ...['--enable-cache-report', '--enable-metrics', '--enable-priority-scheduling'],
        ...(speculation ? eagle(speculation) : []),
        ...(apiKey === null ? [] : ['--api-key', apiKey]),
        ...settings.extra,
      ],
      env: {},
      enables: { priority: true },
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
  // With low values first its direction is ours, and turning it would serve the last ones first: none is sent.
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
            message: `SGLang ${reported.version} may not know Mistral Small 4: its cookbook begins with 0.5.8`,
          } as const,
        ]
      : []),
    ...(eagleOnTriton
      ? [
          {
            kind: 'broken',
            trait: null,
            message:
              'speculation with the Triton MLA backend crashes on Mistral Small 4 (sglang#27367): choose another --attention-backend, or leave speculation out',
          } as const,
        ]
      : []),
    ...(reported.reasoning_parser ? [] : lacks('thinking', 'thinking is not parted from content')),
    ...(reported.tool_call_parser ? [] : lacks('tools', 'tool calls are not read')),
    ...(reported.enable_cache_report
      ? []
      : lacks('cached-tokens', 'cached tokens are not told, and all are billed as fresh')),
    ...(reported.enable_metrics ? [] : lacks('load', 'its load is not known')),
    ...(reported.schedule_low_priority_values_first
      ? lacks(
          'priority',
          'it serves low values first, so no priority is sent; leave --schedule-low-priority-values-first out',
        )
      : []),
  ]
}
