/**
 * Ollama's OpenAI route. Read from its source (openai/openai.go), and run with 0.17.4.
 *
 * - Effort: `none` turns reasoning off. `high` is a 400 for every model but gpt-oss ("think value is not supported"). A
 *   reasoning model reasons by default, so at `high` the field is left out. The library has no official Small 4
 *   (ollama#15142); import a GGUF with a template that reads `.Think`, `.Thinking` and `.Tools`.
 * - Reasoning arrives, and is sent back, as `reasoning`. Tool calls arrive complete. There is no `tool_choice`.
 * - Ollama turns each image part into a separate message. A model without a projector (family `clip`) silently ignores
 *   images, so the adapter sends none.
 * - A prompt longer than the context is silently CUT from the front, and the answer does not report it. Only
 *   `OLLAMA_CONTEXT_LENGTH` helps.
 * - Usage arrives once, on request, without cached or reasoning tokens.
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
  extra: (terms) => ({
    ...(terms.effort === 'none' && { reasoning_effort: 'none' }),
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
    prompt: 'reported',
    cached: 'absent',
    output: 'reported',
    reasoning: 'estimated',
    aborted: 'estimated',
  },
  remedies: {
    'cache-salt': 'let only one tenant use it',
    'over-context': 'set OLLAMA_CONTEXT_LENGTH=262144: longer prompts are cut silently',
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
            ? [
                {
                  kind: 'broken',
                  trait: null,
                  message: 'it has no model. Import a GGUF with `ollama create`.',
                } as const,
              ]
            : []),
          {
            kind: 'degraded',
            trait: null,
            message:
              'its library has no Mistral Small 4 (ollama#15142). Import a GGUF with a template that reads the effort.',
          },
          {
            kind: 'degraded',
            trait: 'over-context',
            message: `prompts longer than its context are cut: ${ollama.remedies['over-context']}`,
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
  health: { calls: [get('/api/version')], read: ([answer]) => (answer?.status === 200 ? 'ready' : 'down') },
  load: noLoad,
  request: (chat, terms, attached) => openaiRequest(chat, terms, attached, dialect),
  reader: (terms, streams, clientNames) =>
    openaiReader({ idSeed: terms.requestId, clientNames, inlineThinking: ['[THINK]', '[/THINK]'] }, streams),
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
      notes: [
        'Its library has no Mistral Small 4 (ollama#15142). Create the model first: ollama create NAME -f MODELFILE.',
      ],
      readyWithinMs: 60_000,
    }
  },
}
