/**
 * `transformers serve`. Read from transformers 5.23.0 (cli/serving).
 *
 * - It ignores, with a line in its own log only, what it does not do: effort, tool choice, response format, presence
 *   penalty, parallel calls, stream options. None of them is sent; what would change the answer is refused here.
 * - Effort goes into the template by `chat_template_kwargs`; `--reasoning on` sets another word, which Small 4's
 *   template does not read.
 * - Thinking comes as `reasoning_content` where the tokenizer has a response template; elsewhere the model's marks are
 *   dropped with the other control tokens, and thinking cannot be told from content.
 * - Of a message with tool calls it renders the calls and drops the text; earlier thinking it drops always.
 * - Stop strings break off every answer of a model that loads with a processor, as Small 4 does ("has no attribute
 *   get_vocab", seen in 5.23.0), so they are refused.
 * - It samples only if the model’s generation_config.json says `do_sample`; otherwise temperature and seed mean nothing.
 * - Images reach a model only if it loads as a vision model; a text model loses them silently, so none is sent.
 * - Usage comes once, with the last chunk, exact. Until then a delta is about a token: what is broken off is estimated.
 * - Closing the connection cancels at the next token. It has no metrics and says no version.
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
  seed: true,
})

const dialect: EngineDialect = {
  ...plainDialect,
  toolChoice: 'absent',
  extra: (order) => ({ chat_template_kwargs: { reasoning_effort: order.effort } }),
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
    prompt: 'told',
    cached: 'absent',
    output: 'told',
    reasoning: 'estimated',
    aborted: 'estimated',
  },
  remedies: {
    seed: 'put "do_sample": true into the model’s generation_config.json: without it temperature and seed mean nothing',
    'over-context': 'none: it takes prompts of any length; set the worker’s TRAMONTANE_CONTEXT to the model’s',
    thinking: 'give the model’s tokenizer the response_template of backends/README.md',
    tools: 'give the model’s tokenizer the response_template of backends/README.md',
    'connection-lost': 'start it with --model-timeout -1, or it unloads the model after 300 s of silence',
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
          { kind: 'degraded', trait: 'load', message: 'it tells no load, no version and no context length' },
          {
            kind: 'degraded',
            trait: 'cache-salt',
            message: 'it tells no cached tokens: all of a prompt is billed as fresh',
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
  request: (chat, order, attached) => openaiRequest(chat, order, attached, dialect),
  reader: (order, streams) =>
    openaiReader({ idSeed: order.requestId, inlineThinking: ['[THINK]', '[/THINK]'] }, streams),
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
      readyWithinMs: 45 * 60_000,
    }
  },
}
