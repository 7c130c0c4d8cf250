/**
 * LM Studio's OpenAI route. From its documentation and changelog (0.3.18 to 0.4.1); it was not run here.
 *
 * - Effort: the route takes the words none to xhigh; whether a model follows them depends on the model, so what it did
 *   is checked by the doctor, not believed.
 * - Thinking comes as `reasoning_content` or `reasoning`, by a setting of the app, or inline; all three are read.
 * - `tool_choice` is a word: a named tool is shown alone. JSON is held to a schema only; plain JSON mode it refuses.
 * - Usage comes once, when asked for (since 0.3.18), without cached or reasoning tokens: cached ones are billed as
 *   fresh, reasoning is estimated, and so is what is broken off.
 * - It has no metrics, and no way to keep tenants' prefixes apart.
 */
import { z } from 'zod'
import { capabilities, type HttpBackend } from '../contract/backend.ts'
import { noLoad } from '../contract/load.ts'
import { openaiReader, parseJson } from './openai/answer.ts'
import { type EngineDialect, get, openaiRequest, plainDialect } from './openai/body.ts'
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
  extra: (order) => ({ reasoning_effort: order.effort, stream_options: { include_usage: true } }),
}

/** Its own API, 0.4 and newer. */
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
/** The same, before 0.4. */
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
    prompt: 'told',
    cached: 'absent',
    output: 'told',
    reasoning: 'estimated',
    aborted: 'estimated',
  },
  remedies: {
    'cache-salt': 'let one tenant use it',
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
                  message: 'no model is loaded: `lms load KEY --context-length 262144`',
                } as const,
              ]
            : []),
          {
            kind: 'degraded',
            trait: 'effort',
            message: 'whether this model follows an effort is its own matter: run the doctor to see',
          },
          {
            kind: 'degraded',
            trait: 'cache-salt',
            message: 'prefixes cannot be kept apart by tenant: let one tenant use it',
          },
        ],
      }
    },
  },
  health: { calls: [get('/v1/models')], read: ([answer]) => (answer?.status === 200 ? 'ready' : 'down') },
  load: noLoad,
  request: (chat, order, attached) => openaiRequest(chat, order, attached, dialect),
  reader: (order, streams) =>
    openaiReader({ idSeed: order.requestId, inlineThinking: ['[THINK]', '[/THINK]'] }, streams),
  failure: (answer) => openaiFailure(answer, 'LM Studio'),
}

interface LoadedModel {
  id: string
  contextTokens: number | null
  vision: boolean
}

/** The first language model that is loaded; an empty id where none is; undefined where this is not LM Studio. */
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
