/**
 * LM Studio's OpenAI route. From its documentation and changelog (0.3.18 to 0.4.1); not run here.
 *
 * - Effort: the route accepts `none` to `xhigh`, but not every model follows them. The doctor checks the effect.
 * - Reasoning arrives as `reasoning_content`, as `reasoning` or inline, by a setting of the app; all three are read.
 * - `tool_choice` is a word, so a named tool is shown alone. It supports JSON schemas but refuses plain JSON mode.
 * - Usage arrives once, on request (since 0.3.18), without cached or reasoning tokens. So cached tokens are billed as
 *   fresh, and reasoning and aborted answers are estimated.
 * - It has no metrics, and cannot separate the prefix cache by tenant.
 */
import { z } from 'zod'
import { capabilities, type HttpBackend } from '../contract/backend.ts'
import { get } from '../contract/http-call.ts'
import { noLoad } from '../contract/load.ts'
import { openaiReader, parseJson } from './openai/answer.ts'
import { type EngineDialect, openaiRequest, plainDialect } from './openai/body.ts'
import { openaiFailure } from './openai/failure.ts'

const can = capabilities({
  efforts: ['none', 'high'],
  reasoning: true,
  tools: true,
  forcedTool: true,
  jsonSchema: true,
  seed: true,
  penalties: true,
  stopsMax: 4,
})

const dialect: EngineDialect = {
  ...plainDialect,
  toolChoice: 'narrowed',
  extra: (terms) => ({ reasoning_effort: terms.effort, stream_options: { include_usage: true } }),
}

/** LM Studio's own API, 0.4 and newer. */
const Models = z.object({
  models: z.array(
    z.object({
      key: z.string(),
      type: z.string(),
      loaded_instances: z
        .array(z.object({ id: z.string(), config: z.object({ context_length: z.int().min(1).nullish() }).nullish() }))
        .nullish(),
      capabilities: z.object({ vision: z.boolean().nullish() }).nullish(),
    }),
  ),
})
/** The same API before 0.4. */
const OlderModels = z.object({
  data: z.array(
    z.object({
      id: z.string(),
      type: z.enum(['llm', 'vlm', 'embeddings']),
      state: z.string(),
      loaded_context_length: z.int().min(1).nullish(),
    }),
  ),
})

export const lmStudio: HttpBackend = {
  transport: 'http',
  name: 'lm-studio',
  title: 'LM Studio',
  capabilities: can,
  truth: {
    promptBefore: 'estimated',
    prompt: 'reported',
    cached: 'absent',
    output: 'reported',
    reasoning: 'estimated',
    aborted: 'estimated',
  },
  remedies: {
    'cache-salt': 'let only one tenant use it',
    usage: 'use LM Studio 0.3.18 or newer',
    thinking: 'turn on “separate reasoning_content” under Developer settings',
    vision: 'load a model with vision',
    'over-context': 'load the model with `lms load KEY --context-length 262144`',
  },
  attach: {
    calls: [get('/api/v1/models'), get('/api/v0/models')],
    read([models, older]) {
      const loaded = loadedModel(parseJson(models?.body ?? ''), parseJson(older?.body ?? ''))
      if (!loaded) return undefined
      return {
        version: '',
        model: loaded.id,
        contextTokens: loaded.contextTokens,
        slotsMax: null,
        capabilities: { ...can, vision: loaded.vision },
        faults: [
          ...(loaded.id === ''
            ? [
                {
                  kind: 'broken',
                  trait: null,
                  message: 'no model is loaded. Run `lms load KEY --context-length 262144`.',
                } as const,
              ]
            : []),
          {
            kind: 'degraded',
            trait: 'effort',
            message: 'not every model follows the effort. Run the doctor to check this one.',
          },
          {
            kind: 'degraded',
            trait: 'cache-salt',
            message: 'its prefix cache cannot be separated by tenant. Let only one tenant use it.',
          },
        ],
      }
    },
  },
  health: { calls: [get('/v1/models')], read: ([answer]) => (answer?.status === 200 ? 'ready' : 'down') },
  load: noLoad,
  request: (chat, terms, attached) => openaiRequest(chat, terms, attached, dialect),
  reader: (terms, streams, clientNames) =>
    openaiReader({ idSeed: terms.requestId, clientNames, inlineThinking: ['[THINK]', '[/THINK]'] }, streams),
  failure: (answer) => openaiFailure(answer, 'LM Studio'),
}

interface LoadedModel {
  id: string
  contextTokens: number | null
  vision: boolean
}

/** The first loaded language model; an empty id if none is loaded; undefined if the endpoint is not LM Studio. */
function loadedModel(models: unknown, older: unknown): LoadedModel | undefined {
  const reported = Models.safeParse(models).data?.models
  if (reported) {
    const model = reported.find(({ type, loaded_instances: loaded }) => type === 'llm' && (loaded?.length ?? 0) > 0)
    const instance = model?.loaded_instances?.[0]
    const contextTokens = instance?.config?.context_length ?? null
    return { id: instance?.id ?? '', contextTokens, vision: model?.capabilities?.vision ?? false }
  }
  const data = OlderModels.safeParse(older).data?.data
  if (!data) return undefined
  const model = data.find(({ type, state }) => type !== 'embeddings' && state === 'loaded')
  return { id: model?.id ?? '', contextTokens: model?.loaded_context_length ?? null, vision: model?.type === 'vlm' }
}
