/**
 * Anything else that speaks OpenAI's chat completions, with caution: nothing is sent that a strict server could refuse,
 * nothing is believed that is not told. It cannot be asked for an effort, so only `none` is taken; it thinks or not as
 * it likes, and thinking is read from wherever it comes.
 */
import { z } from 'zod'
import { capabilities, type HttpBackend } from '../contract/backend.ts'
import { noLoad } from '../contract/load.ts'
import { openaiReader, parseJson } from './openai/answer.ts'
import { get, openaiRequest, plainDialect } from './openai/body.ts'
import { openaiFailure } from './openai/failure.ts'

const can = capabilities({ tools: true, reasoning: true, seed: true, stopsMax: 4 })

const Models = z.object({
  data: z.array(z.object({ id: z.string(), max_model_len: z.int().min(1).nullish() })).min(1),
})

export const openaiCompatible: HttpBackend = {
  transport: 'http',
  name: 'openai-compatible',
  title: 'OpenAI-compatible',
  capabilities: can,
  truth: {
    promptBefore: 'estimated',
    prompt: 'told',
    cached: 'told',
    output: 'told',
    reasoning: 'estimated',
    aborted: 'estimated',
  },
  remedies: {
    'cache-salt': 'let one tenant use it',
  },
  attach: {
    calls: [get('/v1/models')],
    read([models]) {
      const served = models?.status === 200 ? Models.safeParse(parseJson(models.body)).data?.data[0] : undefined
      if (!served) return undefined
      return {
        version: '',
        model: served.id,
        contextTokens: served.max_model_len ?? null,
        slotsMax: null,
        capabilities: can,
        faults: [
          {
            kind: 'degraded',
            trait: 'effort',
            message:
              'an unknown engine is asked for no effort, no schema and no image: run the doctor to see what it can',
          },
          {
            kind: 'degraded',
            trait: 'cache-salt',
            message: 'prefixes are not kept apart by tenant: let one tenant use it',
          },
        ],
      }
    },
  },
  health: { calls: [get('/v1/models')], read: ([answer]) => (answer?.status === 200 ? 'ready' : 'down') },
  load: noLoad,
  request: (chat, order, attached) => openaiRequest(chat, order, attached, plainDialect),
  reader: (order, streams) =>
    openaiReader({ idSeed: order.requestId, inlineThinking: ['[THINK]', '[/THINK]'] }, streams),
  failure: (answer) => openaiFailure(answer),
}
