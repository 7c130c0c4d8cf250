/**
 * An engine process that follows a script. It serves the part of the llama-server or vLLM API that a worker uses, and
 * fails where the script says. `POST /script` changes the script while it runs; `GET /seen` returns the recorded
 * requests.
 *
 *   node engine-process.ts <port> [script as JSON]
 *   node engine-process.ts --port <port> …          started like llama-server: the script is in LLAMA_TEST_SCRIPT, and the
 *                                                   process writes its port to the file LLAMA_TEST_FOLDER/<pid>
 */
import { writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'

export interface Script {
  dialect: 'llama-server' | 'vllm'
  version: string
  /** `silent` accepts connections and never answers. */
  health: 'ready' | 'loading' | 'silent'
  /** Text to write to standard error at the start. */
  words: string
  /** Exits with this code instead of listening. */
  dieWith: number | null
  /** Ignores SIGTERM. */
  stubborn: boolean
  /** Ignores `max_tokens`. */
  boundless: boolean
  /** Milliseconds between the last event and the end of the answer. */
  lingerMs: number
  /** Adds to each word the time it was written, in Unix milliseconds. */
  stamp: boolean
  /** Tokens per answer, milliseconds between two tokens, and the number of leading thinking tokens. */
  tokens: number
  tokenMs: number
  thinking: number
  /** A fault after this many tokens. */
  fault: { after: number; kind: 'crash' | 'stall' | 'half-close' | 'garbage' | 'error-event' } | null
  /** Reported usage: correct, absent, or these figures. */
  usage: 'honest' | 'none' | { prompt_tokens?: number; completion_tokens?: number; cached_tokens?: number }
  /** Answers a chat request with this status and body instead. */
  refusal: { status: number; body: unknown } | null
  contextTokens: number
}

export interface Seen {
  chats: { body: Record<string, unknown>; tokensSent: number; ended: 'no' | 'finished' | 'closed' }[]
  counted: number
  /** Answers in progress, and connections since the start. */
  open: number
  connections: number
}

const script: Script = {
  ...{ dialect: 'llama-server', version: '0.20.1', health: 'ready', words: '', dieWith: null },
  ...{ stubborn: false, boundless: false, stamp: false, lingerMs: 0 },
  ...{ tokens: 5, tokenMs: 0, thinking: 0, fault: null, usage: 'honest', refusal: null, contextTokens: 4_096 },
}

const seen: Seen = { chats: [], counted: 0, open: 0, connections: 0 }

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = request.url?.split('?')[0]
  if (path === '/script') {
    Object.assign(script, JSON.parse(await read(request)))
    return json(response, 200, script)
  }
  if (path === '/seen') return json(response, 200, seen)
  if (script.health === 'silent') return
  if (path === '/health') return health(response)
  if (path === '/props') return json(response, 200, props())
  if (path === '/version') return json(response, 200, { version: script.version })
  if (path === '/v1/models') return json(response, 200, models())
  if (path === '/metrics') return void response.writeHead(200, { 'content-type': 'text/plain' }).end(metrics())
  if (path === '/apply-template') return json(response, 200, { prompt: promptOf(JSON.parse(await read(request))) })
  if (path === '/v1/chat/completions/input_tokens') return count(JSON.parse(await read(request)), response)
  if (path === '/tokenize') return tokenise(JSON.parse(await read(request)), response)
  if (path === '/v1/chat/completions') return chat(JSON.parse(await read(request)), response)
  json(response, 404, { error: { message: 'not found', type: 'not_found_error', code: 404 } })
}

function health(response: ServerResponse): void {
  if (script.health === 'ready') json(response, 200, { status: 'ok' })
  else json(response, 503, { error: { message: 'Loading model', type: 'unavailable_error', code: 503 } })
}

const props = () => ({
  default_generation_settings: { n_ctx: script.contextTokens },
  total_slots: 8,
  model_path: '/models/script.gguf',
  model_alias: 'script',
  chat_template: '[SYSTEM_PROMPT][THINK]',
  build_info: `b${script.version}`,
  modalities: { vision: false, audio: false },
})

const models = () => ({
  object: 'list',
  data: [
    {
      id: 'script',
      object: 'model',
      owned_by: script.dialect === 'vllm' ? 'vllm' : 'llamacpp',
      max_model_len: script.contextTokens,
      meta: { n_ctx_train: script.contextTokens },
    },
  ],
})

const metrics = () =>
  script.dialect === 'vllm'
    ? `vllm:num_requests_running ${seen.open}\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0.25\n`
    : `llamacpp:requests_processing ${seen.open}\nllamacpp:requests_deferred 0\n`

/** The prompt as text. Each word counts as one token. */
function promptOf(body: { messages?: { content?: unknown }[] }): string {
  return (body.messages ?? []).map(({ content }) => textOf(content)).join(' ')
}

function textOf(content: unknown): string {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  return content.map((part: { text?: string }) => part.text ?? '').join(' ')
}

const wordsOf = (text: string) => text.split(/\s+/).filter((word) => word !== '')

function tokenise(
  body: { content?: string; prompt?: string; messages?: { content?: unknown }[] },
  response: ServerResponse,
) {
  seen.counted += 1
  const words = wordsOf(body.content ?? body.prompt ?? promptOf(body))
  const tokens = words.map((_, index) => index)
  json(response, 200, { tokens, count: tokens.length, max_model_len: script.contextTokens })
}

function count(body: { messages?: { content?: unknown }[] }, response: ServerResponse): void {
  seen.counted += 1
  json(response, 200, { object: 'response.input_tokens', input_tokens: wordsOf(promptOf(body)).length })
}

async function chat(body: Record<string, unknown>, response: ServerResponse): Promise<void> {
  const call: Seen['chats'][number] = { body, tokensSent: 0, ended: 'no' }
  seen.chats.push(call)
  if (seen.chats.length > 2_000) seen.chats.shift()
  if (script.refusal) return json(response, script.refusal.status, script.refusal.body)
  seen.open += 1
  response.on('close', () => {
    seen.open -= 1
    if (call.ended === 'no') call.ended = 'closed'
  })
  const promptTokens = wordsOf(promptOf(body as { messages?: { content?: unknown }[] })).length
  const max = Number(body.max_tokens ?? body.max_completion_tokens ?? body.n_predict ?? script.tokens)
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  event(response, { role: 'assistant', content: '' }, null)
  const count = script.boundless ? script.tokens : Math.min(max, script.tokens)
  let turn: (() => Promise<void>) | undefined
  for (let index = 0; index < count; index++) {
    if (script.fault && index >= script.fault.after) return fault(script.fault.kind, response)
    if (script.tokenMs > 0) {
      turn ??= pacer(script.tokenMs)
      await turn()
    }
    if (response.destroyed) return
    const word = script.stamp ? `w${index}:${performance.timeOrigin + performance.now()} ` : `w${index} `
    const field = script.dialect === 'vllm' ? 'reasoning' : 'reasoning_content'
    call.tokensSent += 1
    const totals = totalsOf(body, promptTokens, call.tokensSent)
    event(response, index < script.thinking ? { [field]: word } : { content: word }, null, totals)
  }
  const forced = body.tool_choice === 'required' ? firstTool(body) : undefined
  if (forced !== undefined)
    event(response, { tool_calls: [{ index: 0, id: 'abcdefghi', function: { name: forced, arguments: '{}' } }] }, null)
  event(response, {}, count === max ? 'length' : 'stop')
  const usage = usageOf(promptTokens, count)
  if (usage) response.write(`data: ${JSON.stringify({ ...head, choices: [], usage })}\n\n`)
  call.ended = 'finished'
  response.write('data: [DONE]\n\n')
  if (script.lingerMs > 0) await new Promise((resolve) => setTimeout(resolve, script.lingerMs))
  response.end()
}

function firstTool({ tools }: { tools?: unknown }): string | undefined {
  return (tools as { function: { name: string } }[] | undefined)?.[0]?.function.name
}

/** Waits for the next multiple of `everyMs`, so one late turn does not delay the later ones. */
function pacer(everyMs: number): () => Promise<void> {
  let at = performance.now()
  return () => {
    at += everyMs
    return new Promise((resolve) => setTimeout(resolve, Math.max(0, at - performance.now())))
  }
}

function fault(kind: NonNullable<Script['fault']>['kind'], response: ServerResponse): void {
  switch (kind) {
    case 'crash':
      process.kill(process.pid, 'SIGKILL')
      return
    case 'stall':
      return
    case 'half-close':
      response.end()
      return
    case 'garbage':
      response.end('data: {"choices":[{"delta":\n\n')
      return
    case 'error-event':
      response.end(
        `data: ${JSON.stringify({ error: { message: 'out of memory', type: 'server_error', code: 500 } })}\n\n`,
      )
  }
}

const head = { id: 'chatcmpl-script', object: 'chat.completion.chunk', created: 1, model: 'script' }

function event(response: ServerResponse, delta: unknown, finish: string | null, more: object = {}): void {
  const chunk = { ...head, choices: [{ index: 0, delta, finish_reason: finish }], ...more }
  response.write(`data: ${JSON.stringify(chunk)}\n\n`)
}

/** The running totals, in the form of each engine, if the request asks for them. */
function totalsOf(body: Record<string, unknown>, promptTokens: number, outputTokens: number): object {
  if (body.timings_per_token === true) return timingsOf(promptTokens, outputTokens)
  const { continuous_usage_stats: enabled } = (body.stream_options ?? {}) as Record<string, unknown>
  return enabled === true ? { usage: usageOf(promptTokens, outputTokens) } : {}
}

/** llama-server's running totals, with the same false figures as `script.usage`. */
function timingsOf(promptTokens: number, outputTokens: number): object {
  if (script.usage === 'none') return {}
  const reported = script.usage === 'honest' ? {} : script.usage
  const predicted =
    reported.completion_tokens === undefined ? outputTokens : Math.min(reported.completion_tokens, outputTokens)
  return { timings: { prompt_n: reported.prompt_tokens ?? promptTokens, cache_n: 0, predicted_n: predicted } }
}

function usageOf(promptTokens: number, outputTokens: number) {
  if (script.usage === 'none') return undefined
  const reported = script.usage === 'honest' ? {} : script.usage
  const prompt = reported.prompt_tokens ?? promptTokens
  const completion = reported.completion_tokens ?? outputTokens
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: reported.cached_tokens ?? 0 },
  }
}

async function read(request: IncomingMessage): Promise<string> {
  let text = ''
  request.setEncoding('utf8')
  for await (const part of request as AsyncIterable<string>) text += part
  return text
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

if (import.meta.main) {
  const named = process.argv.indexOf('--port')
  const [port = '0', changes = '{}'] =
    named < 0 ? process.argv.slice(2) : [process.argv[named + 1], process.env.LLAMA_TEST_SCRIPT]
  Object.assign(script, JSON.parse(changes))
  if (script.words !== '') process.stderr.write(`${script.words}\n`)
  if (script.dieWith !== null) process.exit(script.dieWith)
  process.on('SIGTERM', () => {
    if (!script.stubborn) process.exit(0)
  })
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy())
  })
  server.on('connection', () => {
    seen.connections += 1
  })
  server.keepAliveTimeout = 60_000
  server.listen(Number(port), '127.0.0.1', () => {
    const folder = process.env.LLAMA_TEST_FOLDER
    if (folder) writeFileSync(`${folder}/${process.pid}`, port)
  })
}
