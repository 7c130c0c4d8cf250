/**
 * llama.cpp's `llama-server`.
 *
 * - Effort: `none` turns reasoning off and omits the word from the template, which then writes `none`. Other words go
 *   to the template, and Small 4's template raises an error on all but `high`. So only these two are accepted.
 * - With `timings_per_token` each delta carries the totals so far, so an aborted answer is counted to its last delta.
 *   The engine does not count reasoning tokens; they are the growth of the total during reasoning.
 * - It does not support a named tool: the request shows only that tool and forces a call.
 * - All tenants share the prefixes of its slots; only `cache_prompt: false` separates them.
 * - Closing the connection ends the answer within one step. It has no priority.
 */

import { z } from 'zod'
import {
  type Attached,
  capabilities,
  type Fault,
  type HttpAnswer,
  type HttpBackend,
  type LaunchSettings,
} from '../contract/backend.ts'
import { get, post } from '../contract/http-call.ts'
import { healthByStatus, loadByMetrics } from '../contract/load.ts'
import { carefulImage, imageTokensMax } from '../model/image.ts'
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
  seed: true,
  penalties: true,
  stopsMax: 16,
  // It reads WebP only where it finds ffmpeg, and answers 400 without the name of the part otherwise.
  images: { ...carefulImage, formats: ['png', 'jpeg', 'gif'] },
})

const dialect: EngineDialect = {
  ...plainDialect,
  toolChoice: 'narrowed',
  strictTools: 'always',
  extra: (terms) => ({
    reasoning_effort: terms.effort,
    // Its grammars for a schema or a forced call allow reasoning first, unless reasoning is not separated at all.
    ...(terms.effort === 'none' && { reasoning_format: 'none' }),
    stream_options: { include_usage: true },
    timings_per_token: true,
    cache_prompt: terms.cacheSalt === '',
  }),
}

const Props = z.object({
  default_generation_settings: z.object({ n_ctx: z.int().min(0) }).optional(),
  total_slots: z.int().min(1).optional(),
  model_path: z.string().optional(),
  model_alias: z.string().optional(),
  build_info: z.string(),
  chat_template: z.string().optional(),
  modalities: z.object({ vision: z.boolean().optional() }).optional(),
})
const Models = z.object({ data: z.array(z.object({ id: z.string() })).min(1) })
const InputTokens = z.object({ input_tokens: z.int().min(0) })
const Tokens = z.object({ tokens: z.array(z.unknown()) })

export const llamaCpp: HttpBackend = {
  transport: 'http',
  name: 'llama-cpp',
  title: 'llama.cpp',
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
    thinking: 'start llama-server with --jinja and without --reasoning-format',
    tools: 'start llama-server with --jinja and a --chat-template-file that supports tools',
    vision: 'start llama-server with the model’s projector: --mmproj FILE, or -hf to download it',
    load: 'start llama-server with --metrics',
    'over-context': 'start llama-server with -c N: -c 0 uses the model’s own 1,048,576 tokens',
  },
  attach: {
    calls: [get('/props'), get('/v1/models'), get('/metrics')],
    read: ([props, models, metrics]) => attached(props, models, metrics),
  },
  health: healthByStatus,
  load: loadByMetrics('llamacpp', {
    running: ['requests_processing'],
    waiting: ['requests_deferred'],
    // Current versions no longer report it.
    kvUsed: [],
    promptTokensTotal: ['prompt_tokens_total'],
    cachedTokensTotal: ['prompt_tokens_cached_total'],
    outputTokensTotal: ['tokens_predicted_total'],
  }),
  count(chat, terms, attached) {
    const prompt = openaiPrompt(chat, attached.capabilities, dialect)
    const body = { model: attached.model, ...prompt, reasoning_effort: terms.effort }
    return {
      calls: [postPrompt('/v1/chat/completions/input_tokens', body)],
      read([answer]) {
        if (answer?.status === 200) return InputTokens.safeParse(parseJson(answer.body)).data?.input_tokens
        // It counts no image that it cannot decode (v0.4.0), but refuses it with 400 as a chat.
        if (answer?.status === 500) return undefined
        return answer ? llamaCpp.failure(answer) : undefined
      },
    }
  },
  countText: (text) => ({
    calls: [post('/tokenize', { content: text, add_special: false, parse_special: false })],
    read: ([answer]) => Tokens.safeParse(parseJson(answer?.body ?? '')).data?.tokens.length,
  }),
  request: (chat, terms, attached) => openaiRequest(chat, terms, attached, dialect),
  reader: (terms, streams, clientNames) =>
    openaiReader({ idSeed: terms.requestId, clientNames, inlineThinking: ['[THINK]', '[/THINK]'] }, streams),
  failure: (answer) => openaiFailure(answer, 'llama.cpp'),
  launch(settings) {
    const { model, servedAs, host, port, contextTokens, slotsMax, batchTokens, threads, apiKey } = settings
    return {
      command: 'llama-server',
      args: [
        ...[isRepository(model) ? '--hf-repo' : '--model', model, '--alias', servedAs],
        ...['--host', host, '--port', String(port)],
        // llama-server divides the context among its slots.
        ...['--ctx-size', String(contextTokens * slotsMax), '--parallel', String(slotsMax), '--no-kv-unified'],
        ...['--batch-size', String(batchTokens), '--ubatch-size', String(Math.min(batchTokens, 512))],
        ...['--jinja', '--metrics', '--slots', '--no-context-shift'],
        ...(settings.cpuExpertLayers === null ? [] : offload(settings.cpuExpertLayers)),
        // The default for this family is 1,024. Without a projector the flag has no effect.
        ...(hasProjector(settings) ? ['--image-max-tokens', String(imageTokensMax)] : []),
        ...(threads === null ? [] : ['--threads', String(threads)]),
        ...(settings.speculation
          ? [
              '--model-draft',
              settings.speculation.draftModel,
              '--spec-draft-n-max',
              String(settings.speculation.tokens),
            ]
          : []),
        ...settings.extra,
      ],
      env: apiKey === null ? {} : { LLAMA_API_KEY: apiKey },
      enables: {},
      notes: launchNotes(settings),
      // A repository is downloaded first.
      readyWithinMs: (isRepository(model) ? 180 : 15) * 60_000,
    }
  },
}

/** Such as `unsloth/Mistral-Small-4-119B-2603-GGUF:Q4_K_M`: a repository on Hugging Face, and a quantisation in it. */
function isRepository(model: string): boolean {
  return /^[\w-][\w.-]*\/[\w-][\w.-]*(:[\w.-]+)?$/.test(model) && !model.endsWith('.gguf')
}

function hasProjector({ model, extra }: LaunchSettings): boolean {
  return isRepository(model) || extra.some((word) => /^(-mm|--mmproj)(=|$)/.test(word))
}

function offload(layers: number): string[] {
  return ['--n-gpu-layers', 'all', ...(layers > 0 ? ['--n-cpu-moe', String(layers)] : [])]
}

function launchNotes({ model, contextTokens, slotsMax, cpuExpertLayers, extra }: LaunchSettings): string[] {
  const fit =
    cpuExpertLayers === null
      ? 'llama-server itself divides the model between GPU and CPU (--fit). --n-gpu-layers all --n-cpu-moe N keeps the experts of N layers on the CPU; npm run plan computes N for Mistral Small 4.'
      : `--n-cpu-moe keeps the experts of ${cpuExpertLayers} layers in the memory of the CPU.`
  const projector = isRepository(model)
    ? 'The projector for images is downloaded with the model; --no-mmproj leaves it out.'
    : 'For images, add the projector: --mmproj FILE.'
  return [
    `--ctx-size is divided among the slots: ${slotsMax} × ${contextTokens} tokens, which take 22.5 KiB each for Mistral Small 4. For fewer or longer requests set TRAMONTANE_SLOTS and TRAMONTANE_CONTEXT.`,
    fit,
    ...(extra.some((word) => word.startsWith('--mmproj')) ? [] : [projector]),
    '--cache-type-k q8_0 --cache-type-v q8_0 --flash-attn on halves the cache; both types must be the same for this model.',
  ]
}

function attached(
  props: HttpAnswer | null | undefined,
  models: HttpAnswer | null | undefined,
  metrics: HttpAnswer | null | undefined,
): Attached | undefined {
  const reported = props?.status === 200 ? Props.safeParse(parseJson(props.body)).data : undefined
  if (!reported) return undefined
  const listed = Models.safeParse(parseJson(models?.body ?? '')).data?.data[0]?.id
  const vision = reported.modalities?.vision ?? false
  const faults: Fault[] = []
  if (metrics?.status !== 200)
    faults.push({ kind: 'degraded', trait: 'load', message: `its load is unknown: ${llamaCpp.remedies.load}` })
  faults.push({
    kind: 'degraded',
    trait: 'cache-salt',
    message:
      'its prefix cache cannot be separated by tenant, so requests reuse no prefixes. Let only one tenant use it to reuse them.',
  })
  return {
    version: reported.build_info,
    model: listed ?? reported.model_alias ?? reported.model_path ?? 'default',
    contextTokens: reported.default_generation_settings?.n_ctx || null,
    slotsMax: reported.total_slots ?? null,
    capabilities: { ...can, vision },
    faults,
  }
}
