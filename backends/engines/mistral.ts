/**
 * Mistral's hosted API.
 *
 * - It refuses unknown fields at every level (422, `extra_forbidden`), so the body has only known names: `random_seed`,
 *   `max_tokens`, no `stream_options`, and earlier reasoning as a part of the content.
 * - Effort: `none` and `high` for Small 4; any other is a 400 with code "3051". `prompt_mode` no longer works.
 * - Reasoning arrives as a part of the content, never in a plain string.
 * - Usage always arrives with the last chunk, without reasoning tokens, and with cached tokens under one of three
 *   names. `prompt_cache_key` is not sent, so nothing is cached unless usage reports it, and tenants share nothing.
 * - It fetches images and documents itself, on its own network.
 */
import { z } from 'zod'
import { type Attached, capabilities, type HttpBackend } from '../contract/backend.ts'
import { get } from '../contract/http-call.ts'
import { noLoad } from '../contract/load.ts'
import type { Chat } from '../model/chat.ts'
import { openaiReader, parseJson } from './openai/answer.ts'
import { type EngineDialect, openaiRequest, plainDialect } from './openai/body.ts'
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
  documents: true,
  remoteMedia: true,
  seed: true,
  penalties: true,
  stopsMax: 16,
  prefix: true,
  cacheSalt: true,
})
const temperatureMax = 1.5

const dialect: EngineDialect = {
  ...plainDialect,
  strictTools: 'sent',
  reasoningHistory: 'chunk',
  seed: 'random_seed',
  required: 'any',
  prefix: 'prefix',
  extra: (terms) => ({ reasoning_effort: terms.effort }),
}

const Models = z.object({
  data: z
    .array(z.object({ id: z.string(), owned_by: z.literal('mistralai'), max_context_length: z.int().min(1).nullish() }))
    .min(1),
})

export const mistral: HttpBackend = {
  transport: 'http',
  name: 'mistral',
  title: 'Mistral API',
  capabilities: can,
  truth: {
    promptBefore: 'estimated',
    prompt: 'reported',
    // The API reports it, but always as 0, because the adapter sends no prompt_cache_key.
    cached: 'absent',
    output: 'reported',
    reasoning: 'estimated',
    aborted: 'estimated',
  },
  remedies: {},
  attach: {
    calls: [get('/v1/models')],
    read([models]) {
      const served = Models.safeParse(parseJson(models?.body ?? '')).data?.data
      const small = served?.find(({ id }) => id === 'mistral-small-2603' || id === 'mistral-small-latest')
      return (
        served && { ...mistralModel((small ?? served[0])?.id ?? ''), contextTokens: small?.max_context_length ?? null }
      )
    },
  },
  health: { calls: [get('/v1/models')], read: ([answer]) => (answer?.status === 200 ? 'ready' : 'down') },
  load: noLoad,
  request(chat, terms, attached) {
    const { taken, warnings } = within(chat)
    const request = openaiRequest(taken, terms, attached, dialect)
    return request.ok ? { ...request, warnings: [...request.warnings, ...warnings] } : request
  },
  reader: (terms, streams, clientNames) => openaiReader({ idSeed: terms.requestId, clientNames }, streams),
  failure: (answer) => openaiFailure(answer, 'the hosted API'),
}

/** The API as attached for a model id, without a call. */
export function mistralModel(model: string): Attached {
  return { version: '', model, contextTokens: null, slotsMax: null, capabilities: can, faults: [] }
}

/** Clamps values to the API's ranges. */
function within(chat: Chat): { taken: Chat; warnings: string[] } {
  const { temperature, seed } = chat
  const hot = temperature !== undefined && temperature > temperatureMax
  const negative = seed !== undefined && seed < 0
  return {
    taken: {
      ...chat,
      temperature: hot ? temperatureMax : temperature,
      seed: negative ? Math.abs(seed) : seed,
    },
    warnings: [
      ...(hot ? [`temperature: the hosted API accepts at most ${temperatureMax}; ${temperatureMax} was sent`] : []),
      ...(negative ? ['seed: the hosted API accepts no negative seed; it was sent without its sign'] : []),
    ],
  }
}
