/**
 * Ollama's OpenAI route. Read from its source (openai/openai.go), and run with 0.17.4.
 *
 * - Effort: `none` turns thinking off. `high` is a 400 for every model but gpt-oss ("think value is not supported"), while
 *   a model that can think does so when nothing is said: so nothing is said. There is no official Small 4 in its library
 *   (ollama#15142); a GGUF can be imported, with a template that reads `.Think`, `.Thinking` and `.Tools`.
 * - Thinking comes as `reasoning` and goes back as that. Calls come whole. `tool_choice` it does not have.
 * - A part of a content that is an image becomes a message of its own. A model without a projector (family `clip`)
 *   loses it silently, so it is sent none.
 * - A prompt that is longer than its context is CUT, silently, from the front. Nothing in the answer says so; only
 *   `OLLAMA_CONTEXT_LENGTH` helps.
 * - Usage comes once, when asked for, without cached or reasoning tokens.
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
  reasoningHistory: true,
  tools: true,
  jsonObject: true,
  jsonSchema: true,
  seed: true,
  penalties: true,
  stopsMax: 16,
})

const dialect: EngineDialect = {
  ...plainDialect,
  toolChoice: 'absent',
  reasoningHistory: 'reasoning',
  extra: (order) => ({
    ...(order.effort === 'none' && { reasoning_effort: 'none' }),
    stream_options: { include_usage: true },
  }),
}

const Version = z.object({ version: z.string() })
const Models = z.object({
  models: z.array(
    z.object({
      name: z.string(),
      context_length: z.int().min(1).nullish(),
      details: z.object({ families: z.array(z.string()).nullish() }).nullish(),
    }),
  ),
})

export const ollama: HttpBackend = {
  transport: 'http',
  name: 'ollama',
  title: 'Ollama',
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
    'over-context': 'set OLLAMA_CONTEXT_LENGTH=262144: longer prompts are cut without a word',
    effort: 'import the model with a template that reads the effort',
    'forced-tool': 'none: Ollama has no tool_choice',
  },
  attach: {
    calls: [get('/api/version'), get('/api/ps'), get('/api/tags')],
    read([version, running, all]) {
      const reported = Version.safeParse(parseJson(version?.body ?? '')).data?.version
      const tags = Models.safeParse(parseJson(all?.body ?? '')).data?.models
      if (reported === undefined || !tags) return undefined
      const loaded = Models.safeParse(parseJson(running?.body ?? '')).data?.models[0]
      const model = loaded ?? tags[0]
      return {
        version: reported,
        model: model?.name ?? '',
        contextTokens: loaded?.context_length ?? null,
        slotsMax: null,
        capabilities: { ...can, vision: model?.details?.families?.includes('clip') ?? false },
        faults: [
          ...(tags.length === 0
            ? [{ kind: 'broken', trait: null, message: 'it has no model: import a GGUF with `ollama create`' } as const]
            : []),
          {
            kind: 'degraded',
            trait: null,
            message:
              'its library has no Mistral Small 4 (ollama#15142): import a GGUF, with a template that reads the effort',
          },
          {
            kind: 'degraded',
            trait: 'over-context',
            message: `prompts beyond its context are cut: ${ollama.remedies['over-context']}`,
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
  health: { calls: [get('/api/version')], read: ([answer]) => (answer?.status === 200 ? 'ready' : 'down') },
  load: noLoad,
  request: (chat, order, attached) => openaiRequest(chat, order, attached, dialect),
  reader: (order, streams) =>
    openaiReader({ idSeed: order.requestId, inlineThinking: ['[THINK]', '[/THINK]'] }, streams),
  failure: (answer) => openaiFailure(answer, 'Ollama'),
  launch({ host, port, contextTokens, slotsMax, extra }) {
    return {
      command: 'ollama',
      args: ['serve', ...extra],
      env: {
        OLLAMA_HOST: `${host}:${port}`,
        OLLAMA_CONTEXT_LENGTH: String(contextTokens),
        OLLAMA_NUM_PARALLEL: String(slotsMax),
        OLLAMA_KEEP_ALIVE: '-1',
      },
      enables: {},
      readyWithinMs: 60_000,
    }
  },
}
