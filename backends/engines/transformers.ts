/**
 * `transformers serve`. Read from transformers 5.23.0 (cli/serving).
 *
 * - It ignores unsupported fields and only logs them: effort, tool choice, response format, presence penalty, parallel
 *   calls, stream options. The adapter sends none of them and refuses those that would change the answer.
 * - Effort goes into the template by `chat_template_kwargs`; `--reasoning on` sets another word, which Small 4's
 *   template does not read.
 * - Reasoning arrives as `reasoning_content` if the tokenizer has a response template. Otherwise the model's marks are
 *   dropped with the other control tokens, and reasoning cannot be distinguished from content.
 * - In a message with tool calls it renders the calls and drops the text. It always drops earlier reasoning.
 * - Stop strings break off every answer of a model that loads with a processor, as Small 4 does ("has no attribute
 *   get_vocab", seen in 5.23.0), so the adapter refuses them.
 * - It samples only if the model’s generation_config.json sets `do_sample`; otherwise it ignores temperature and seed.
 * - Only a vision model receives images; a text model silently ignores them, so the adapter sends none.
 * - Usage arrives once, exact, with the last chunk. Before that a delta is about a token, so aborted answers are
 *   estimated.
 * - Closing the connection cancels at the next token. It has no metrics and reports no version.
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
  seed: true,
})

const dialect: EngineDialect = {
  ...plainDialect,
  toolChoice: 'absent',
  extra: (terms) => ({ chat_template_kwargs: { reasoning_effort: terms.effort } }),
}

const Paths = z.object({ paths: z.object({ '/load_model': z.unknown(), '/v1/chat/completions': z.unknown() }) })
const Models = z.object({ data: z.array(z.object({ id: z.string() })).min(1) })

export const transformers: HttpBackend = {
  transport: 'http',
  name: 'transformers',
  title: 'Transformers',
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
    seed: 'set "do_sample": true in the model’s generation_config.json: without it temperature and seed are ignored',
    'over-context':
      'none: it accepts prompts of any length; set the worker’s TRAMONTANE_CONTEXT to the model’s context',
    thinking: 'add the response_template of backends/README.md to the model’s tokenizer',
    tools: 'add the response_template of backends/README.md to the model’s tokenizer',
    'connection-lost': 'start it with --model-timeout -1, or it unloads the model after 300 s without requests',
  },
  attach: {
    calls: [get('/openapi.json'), get('/v1/models')],
    read([openapi, models]) {
      if (!Paths.safeParse(parseJson(openapi?.body ?? '')).success) return undefined
      const model = Models.safeParse(parseJson(models?.body ?? '')).data?.data[0]?.id ?? ''
      return {
        version: '',
        model,
        contextTokens: null,
        slotsMax: null,
        capabilities: can,
        faults: [
          { kind: 'degraded', trait: 'load', message: 'it reports no load, version or context length' },
          {
            kind: 'degraded',
            trait: 'cache-salt',
            message: 'it reports no cached tokens, so the whole prompt is billed as fresh',
          },
        ],
      }
    },
  },
  health: {
    calls: [get('/health')],
    read: ([answer]) => (answer?.status === 200 ? 'ready' : 'down'),
  },
  load: noLoad,
  request: (chat, terms, attached) => openaiRequest(chat, terms, attached, dialect),
  reader: (terms, streams, clientNames) =>
    openaiReader({ idSeed: terms.requestId, clientNames, inlineThinking: ['[THINK]', '[/THINK]'] }, streams),
  failure: (answer) => openaiFailure(answer, 'Transformers'),
  launch({ model, host, port, extra }) {
    return {
      command: 'transformers',
      args: [
        ...['serve', model, '--host', host, '--port', String(port)],
        ...['--continuous-batching', '--dtype', 'bfloat16', '--model-timeout', '-1', ...extra],
      ],
      env: {},
      enables: {},
      notes: ['Install: uv pip install "transformers[serving]>=5.23"'],
      readyWithinMs: 45 * 60_000,
    }
  },
}
