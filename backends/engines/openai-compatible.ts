/**
 * Any other engine with OpenAI's Chat Completions. The adapter sends only fields that a strict server accepts, and
 * assumes nothing that the engine does not report. It cannot request an effort, so it accepts only `none`; the engine
 * may still reason, and reasoning is read from every known field.
 */
import { z } from 'zod'
import { capabilities, type HttpBackend } from '../contract/backend.ts'
import { get } from '../contract/http-call.ts'
import { noLoad } from '../contract/load.ts'
import { openaiReader, parseJson } from './openai/answer.ts'
import { openaiRequest, plainDialect } from './openai/body.ts'
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
    prompt: 'reported',
    cached: 'reported',
    output: 'reported',
    reasoning: 'estimated',
    aborted: 'estimated',
  },
  remedies: {
    'cache-salt': 'let only one tenant use it',
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
              'effort, JSON schemas and images are off for an unknown engine. Run the doctor to see what it supports.',
          },
          {
            kind: 'degraded',
            trait: 'cache-salt',
            message: 'its prefix cache is not separated by tenant. Let only one tenant use it.',
          },
        ],
      }
    },
  },
  health: { calls: [get('/v1/models')], read: ([answer]) => (answer?.status === 200 ? 'ready' : 'down') },
  load: noLoad,
  request: (chat, terms, attached) => openaiRequest(chat, terms, attached, plainDialect),
  reader: (terms, streams, clientNames) =>
    openaiReader({ idSeed: terms.requestId, clientNames, inlineThinking: ['[THINK]', '[/THINK]'] }, streams),
  failure: (answer) => openaiFailure(answer),
}
