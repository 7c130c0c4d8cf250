/**
 * Checks which traits of the contract hold for a backend. There is one check per trait; it sends the requests that the
 * worker would send, and notes its observation in a few words. The prompts suit both the toy model and a real model.
 *
 * Verdicts: `yes`; `estimated`: it works, but a number is not exact; `refused`: the backend does not offer it and names
 * the field; `no`: the backend offers it, but it does not hold; `untested`: this backend gives no way to observe it.
 */
import { type BackendFailure, type Trait, traits } from '../../backends/contract/backend.ts'
import type { Subject, SubjectOutcome, SubjectRequest } from './subject.ts'

export interface CheckVerdict {
  verdict: 'yes' | 'estimated' | 'refused' | 'no' | 'untested'
  note: string
}

type Check = (seen: Observed) => Promise<CheckVerdict>

/** State that the checks share: answers that several checks use are requested only once. */
interface Observed {
  subject: Subject
  plain(): Promise<SubjectOutcome>
  thinking(): Promise<SubjectOutcome>
  /** Unique per run, so that cache entries of an earlier run do not count for this one. */
  nonce: string
  /** Waits briefly: an engine's load takes a moment to fall after a client disconnects. */
  pause(): Promise<void>
}

const sum = 'What is 478 + 356?'
const user = (content: unknown) => ({ messages: [{ role: 'user', content }] })
const plainRequest: SubjectRequest = { body: user(sum) }
const thinkingRequest: SubjectRequest = { body: user(sum), effort: 'high', outputTokensMax: 512 }
/** A request whose answer is long enough to break off. */
const longRequest = ({ capabilities }: Subject): SubjectRequest =>
  capabilities.efforts.includes('high') ? thinkingRequest : plainRequest
const tool = (name: string, description: string) => ({
  type: 'function',
  function: {
    name,
    description,
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
})
const tools = [tool('get_weather', 'Get the weather of a city'), tool('get_time', 'Get the local time of a city')]
const schema = {
  type: 'object',
  properties: { answer: { type: 'integer' }, sure: { enum: ['yes', 'no'] } },
  required: ['answer', 'sure'],
  additionalProperties: false,
}
/** About 300 words, long enough for an engine that caches blocks of 16 tokens. */
const story = `Please remember all of this. ${'The red fox, the old lamp and the blue boat were in the garden. '.repeat(24)}`
/** Grey squares of 28 and of 224 pixels a side. */
const images = [
  'iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAAFElEQVR4nGNowAMYRiVHJUclYQAA14+IEGRJUUcAAAAASUVORK5CYII=',
  'iVBORw0KGgoAAAANSUhEUgAAAOAAAADgCAAAAAA/RjU9AAAA3UlEQVR42u3PAQkAAAwDoEVf9MU4HG1g+lwEBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBe8MJSoFv1MoF1AAAAAASUVORK5CYII=',
].map((data) => `data:image/png;base64,${data}`)

const yes = (note = ''): CheckVerdict => ({ verdict: 'yes', note })
const no = (note: string): CheckVerdict => ({ verdict: 'no', note })
const untested = (note: string): CheckVerdict => ({ verdict: 'untested', note })

const checks: Record<Trait, Check> = {
  async usage({ subject, plain }) {
    const seen = await plain()
    if (bad(seen)) return no(bad(seen))
    if (seen.estimated) return { verdict: 'estimated', note: 'the engine reports no usage' }
    const long = await subject.ask({ body: user(`${story} What was red?`), outputTokensMax: 8 })
    if (bad(long)) return no(bad(long))
    if (long.content + long.reasoning === '' && long.calls.length === 0)
      return no(`an empty answer to a prompt of ${long.counts.promptTokens} tokens`)
    const counted = await subject.countText(seen.content)
    const { promptTokens, outputTokens } = seen.counts
    const reported = `${promptTokens} + ${outputTokens}`
    if (counted === undefined) return yes(`${reported}, as reported`)
    // The token that ends the answer has no text.
    const exact = outputTokens === counted || outputTokens === counted + 1
    return exact
      ? yes(`${reported}, the text has ${counted}`)
      : no(`it reports ${outputTokens} output tokens, the text has ${counted}`)
  },

  async 'usage-on-abort'({ subject }) {
    const seen = await subject.ask({ ...longRequest(subject), breakOff: { after: 8, by: 'client' } })
    const { outputTokens } = seen.counts
    if (seen.deltas === 0) return no(bad(seen))
    if (outputTokens < seen.deltas) return no(`${outputTokens} tokens for ${seen.deltas} deltas`)
    return seen.estimated
      ? { verdict: 'estimated', note: `${seen.deltas} deltas are ${outputTokens} tokens` }
      : yes(`${outputTokens} tokens after ${seen.deltas} deltas`)
  },

  async 'cached-tokens'({ subject }) {
    if (subject.truth.cached === 'absent')
      return untested('the engine reports none; all prompt tokens are billed as not cached')
    const request: SubjectRequest = { body: user(`${story} Cached?`), outputTokensMax: 1 }
    await subject.ask(request)
    const { cachedTokens, promptTokens } = (await subject.ask(request)).counts
    return cachedTokens > 0 ? yes(`${cachedTokens} of ${promptTokens}`) : no('none for a prompt sent twice in a row')
  },

  async 'prompt-count'({ subject }) {
    const requests: SubjectRequest[] = [
      { body: user(sum), outputTokensMax: 1 },
      { body: { ...user('What is the weather in Lagos?'), tools }, effort: 'high', outputTokensMax: 1 },
      { body: replayed('Ones: 1 + 2 = 3.'), outputTokensMax: 1 },
    ]
    for (const request of requests) {
      const counted = await subject.count(request)
      if (counted === undefined)
        return { verdict: 'estimated', note: 'the engine cannot count prompts; the worker estimates from bytes' }
      const seen = await subject.ask(request)
      if (seen.refusal) return no(why(seen.refusal))
      const { promptTokens } = seen.counts
      if (counted !== promptTokens) return no(`counted ${counted}, but the prompt has ${promptTokens}`)
    }
    return yes(`${requests.length} prompts, with tools, effort and history`)
  },

  async cancel({ subject, pause }) {
    const before = await subject.load()
    if (before.running === null) return untested('the engine reports no load')
    const seen = await subject.ask({
      body: user('Tell me a story about a fox.'),
      effort: longRequest(subject).effort ?? 'none',
      outputTokensMax: 2_000,
      breakOff: { after: 4, by: 'client' },
    })
    if (seen.deltas === 0) return no(bad(seen))
    for (let tries = 0; tries < 20; tries++) {
      await pause()
      const after = await subject.load()
      if (after.running !== 0) continue
      const more = (after.outputTokensTotal ?? 0) - (before.outputTokensTotal ?? 0)
      if (after.outputTokensTotal === null) return yes('no request is running')
      return more <= seen.counts.outputTokens + cancelTokensMax
        ? yes(`${Math.max(0, more - seen.counts.outputTokens)} tokens after the last one read`)
        : no(`it generated ${more - seen.counts.outputTokens} more tokens`)
    }
    return no('the request keeps running after the connection closed')
  },

  async effort({ plain, thinking }) {
    const [none, high] = [await plain(), await thinking()]
    if (bad(none)) return no(bad(none))
    if (high.refusal) return { verdict: 'refused', note: why(high.refusal) }
    if (bad(high)) return no(bad(high))
    if (none.reasoning !== '') return no('it thinks at effort none')
    const { outputTokens } = high.counts
    if (outputTokens <= none.counts.outputTokens) return no('high generates no more tokens than none')
    return yes(`${none.counts.outputTokens} tokens at none, ${outputTokens} at high`)
  },

  async 'effort-refused'({ subject }) {
    const seen = await subject.ask({ ...plainRequest, effort: 'medium', outputTokensMax: 4 })
    if (seen.refusal?.param === 'reasoning_effort') return yes('the refusal names the field')
    return no(seen.refusal ? why(seen.refusal) : 'medium was accepted')
  },

  async thinking({ thinking }) {
    const seen = await thinking()
    if (seen.refusal) return { verdict: 'refused', note: why(seen.refusal) }
    if (seen.reasoning === '') return no('no thinking separate from the content')
    if (/\[\/?THINK\]/.test(seen.content)) return no('the [THINK] marks are in the content')
    const { reasoningTokens } = seen.counts
    if (reasoningTokens < 1) return no('no thinking token was counted')
    return seen.estimated
      ? { verdict: 'estimated', note: `about ${reasoningTokens} tokens` }
      : yes(`${reasoningTokens} tokens`)
  },

  async 'thinking-replay'({ subject }) {
    const length = async (thought: string) => {
      const request: SubjectRequest = { body: replayed(thought), outputTokensMax: 1 }
      const { counts, warnings, refusal } = await subject.ask(request)
      const warned = warnings.some((warning) => warning.includes('thinking'))
      return { tokens: counts.promptTokens, warned, refusal }
    }
    const [without, with_] = [await length(''), await length('Ones: 1 + 2 = 3, carry nothing at all.')]
    if (with_.refusal) return no(why(with_.refusal))
    if (with_.warned) return { verdict: 'refused', note: 'left out, with a warning' }
    return with_.tokens > without.tokens
      ? yes(`${with_.tokens - without.tokens} tokens more`)
      : no('earlier thinking is dropped silently')
  },

  async tools({ subject }) {
    const seen = await subject.ask({ body: { ...user('What is the weather in Lagos?'), tools } })
    if (seen.refusal) return { verdict: 'refused', note: why(seen.refusal) }
    return calledWell(seen, 'get_weather')
  },

  async 'parallel-tools'({ subject }) {
    const seen = await subject.ask({ body: { ...user('What is the weather in Oslo and in Lima?'), tools } })
    if (seen.refusal) return { verdict: 'refused', note: why(seen.refusal) }
    if (seen.calls.length < 2) return no(`${seen.calls.length} calls`)
    const ids = new Set(seen.calls.map((call) => call.id))
    return ids.size === seen.calls.length ? yes(`${ids.size} calls`) : no('two calls have the same id')
  },

  async 'forced-tool'({ subject }) {
    const choice = { type: 'function', function: { name: 'get_time' } }
    const seen = await subject.ask({ body: { ...user('Hello!'), tools, tool_choice: choice } })
    if (seen.refusal) return { verdict: 'refused', note: why(seen.refusal) }
    return calledWell(seen, 'get_time')
  },

  async 'json-schema'({ subject }) {
    const format = { type: 'json_schema', json_schema: { name: 'answer', schema } }
    const seen = await subject.ask({ body: { ...user(sum), response_format: format }, outputTokensMax: 256 })
    if (seen.refusal) return { verdict: 'refused', note: why(seen.refusal) }
    if (bad(seen)) return no(bad(seen))
    const value = json(seen.content)
    const { answer, sure } = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
    const fits = Number.isInteger(answer) && (sure === 'yes' || sure === 'no')
    if (!fits) return no(`${seen.finishReason}: ${seen.content.slice(0, 60)}`)
    return seen.reasoning === '' ? yes() : yes('after thinking, at effort none')
  },

  async vision({ subject }) {
    const tokens: number[] = []
    for (const url of images) {
      const parts = [
        { type: 'text', text: 'What is this?' },
        { type: 'image_url', image_url: { url } },
      ]
      const seen = await subject.ask({ body: user(parts), outputTokensMax: 4 })
      if (seen.refusal) return { verdict: 'refused', note: why(seen.refusal) }
      if (bad(seen)) return no(bad(seen))
      tokens.push(seen.counts.promptTokens)
    }
    const [small = 0, large = 0] = tokens
    // Some engines put a mark into the prompt and drop the image. Then its size makes no difference.
    return large > small
      ? yes(`an image of 224 × 224 is ${large - small} tokens more than one of 28 × 28`)
      : no('the image was dropped silently')
  },

  async stop({ subject, plain }) {
    const { content } = await plain()
    const word = content
      .slice(Math.floor(content.length / 2))
      .trim()
      .slice(0, 3)
    if (word === '') return untested('the answer was empty')
    const seen = await subject.ask({ body: { ...user(sum), stop: [word] } })
    if (seen.refusal) return { verdict: 'refused', note: why(seen.refusal) }
    if (seen.content.includes(word)) return no(`“${word}” is in the answer`)
    return seen.finishReason === 'stop' ? yes() : no(`it ended with ${seen.finishReason}`)
  },

  async seed({ subject }) {
    if (!subject.capabilities.seed) return { verdict: 'refused', note: 'left out, with a warning' }
    const storyWith = (seed: number): SubjectRequest => ({
      body: { ...user('Tell me a story about a fox.'), temperature: 1.5, seed },
      outputTokensMax: 24,
    })
    const [one, again] = [await subject.ask(storyWith(7)), await subject.ask(storyWith(7))]
    if (bad(one)) return no(bad(one))
    if (one.content !== again.content) return no('the same seed gave two answers')
    for (let other = 8; other < 12; other++)
      if ((await subject.ask(storyWith(other))).content !== one.content) return yes()
    return no('every seed gives the same answer: the engine does not sample')
  },

  async 'over-context'({ subject }) {
    const context = subject.contextTokens ?? 8_192
    const request: SubjectRequest = { body: user('seven '.repeat(Math.min(context * 2, 600_000))), outputTokensMax: 4 }
    const counted = await subject.count(request)
    if (counted !== undefined && subject.contextTokens !== null && counted > context)
      return yes(`refused at ${counted} tokens, before it is sent`)
    const seen = await subject.ask(request)
    if (seen.refusal && !seen.refusal.operator) return yes(`${seen.refusal.code} by the engine`)
    if (seen.refusal) return no(why(seen.refusal))
    return no(`it answered a prompt of ${seen.counts.promptTokens} tokens`)
  },

  async 'error-mid-stream'({ subject }) {
    return brokenWell(await subject.ask({ ...longRequest(subject), breakOff: { after: 4, by: 'error' } }))
  },

  async 'connection-lost'({ subject }) {
    return brokenWell(await subject.ask({ ...longRequest(subject), breakOff: { after: 4, by: 'connection' } }))
  },

  async health({ subject }) {
    const health = await subject.health()
    return health === 'ready' ? yes() : no(health)
  },

  async load({ subject }) {
    let runningMax = 0
    await subject.ask({
      ...longRequest(subject),
      breakOff: { after: 6, by: 'client' },
      onDelta: async () => {
        runningMax = Math.max(runningMax, (await subject.load()).running ?? 0)
      },
    })
    const load = await subject.load()
    const reported = Object.entries(load).filter(([, value]) => value !== null)
    if (reported.length === 0)
      return { verdict: 'refused', note: 'the engine reports none; the worker counts its own requests' }
    return runningMax > 0
      ? yes(reported.map(([name]) => name).join(', '))
      : no('it reported no running request while it answered')
  },

  async priority({ subject }) {
    if (!subject.capabilities.priority) return { verdict: 'refused', note: 'first come, first served' }
    const seen = await subject.ask({ body: user(sum), outputTokensMax: 1 })
    return bad(seen) ? no(bad(seen)) : yes('the engine accepts it')
  },

  async 'cache-salt'({ subject, nonce }) {
    const storyOf = (tenant: string): SubjectRequest => ({
      body: user(`${story} Salted?`),
      outputTokensMax: 1,
      cacheSalt: `${tenant}-${nonce}`,
    })
    if (subject.truth.cached === 'absent') return untested('the engine reports no cached tokens')
    await subject.ask(storyOf('tenant-a'))
    const [own, others] = [
      (await subject.ask(storyOf('tenant-a'))).counts,
      (await subject.ask(storyOf('tenant-b'))).counts,
    ]
    if (others.cachedTokens > sharedTokensMax)
      return no(`it reused ${others.cachedTokens} cached tokens of another tenant`)
    return own.cachedTokens > others.cachedTokens ? yes() : yes('it reuses no cached tokens at all')
  },
}

/** Tokens that an engine may generate before it notices that the client disconnected. */
const cancelTokensMax = 64
/** The first tokens of a prompt are the same for all tenants, so an engine may share them. */
const sharedTokensMax = 16

/** Runs the checks in order. A check that throws gets the verdict `no`, with its error as the note. */
export async function examine(
  subject: Subject,
  nonce: string,
  pause: () => Promise<void>,
  done: (trait: Trait, verdict: CheckVerdict) => void,
  only: readonly Trait[] = traits,
): Promise<Map<Trait, CheckVerdict>> {
  const once = (request: SubjectRequest) => {
    let answer: Promise<SubjectOutcome> | undefined
    return () => {
      answer ??= subject.ask(request)
      return answer
    }
  }
  const seen: Observed = { subject, nonce, pause, plain: once(plainRequest), thinking: once(thinkingRequest) }
  const verdicts = new Map<Trait, CheckVerdict>()
  for (const trait of only) {
    const verdict = await checks[trait](seen).catch((error: Error) => no(error.message))
    verdicts.set(trait, verdict)
    done(trait, verdict)
  }
  return verdicts
}

function replayed(thought: string): Record<string, unknown> {
  return {
    messages: [
      { role: 'user', content: 'What is 1 + 2?' },
      { role: 'assistant', content: '1 + 2 = 3', ...(thought !== '' && { reasoning_content: thought }) },
      { role: 'user', content: sum },
    ],
  }
}

function why(refusal: BackendFailure): string {
  return refusal.reported ?? refusal.message
}

/** Returns why an answer is incomplete, or an empty string. */
function bad(seen: SubjectOutcome): string {
  if (seen.refusal) return why(seen.refusal)
  return seen.failed ?? (seen.finishReason ? '' : 'it did not end')
}

function calledWell(seen: SubjectOutcome, name: string): CheckVerdict {
  if (bad(seen)) return no(bad(seen))
  const call = seen.calls[0]
  if (!call) return no(`no call: ${seen.content.slice(0, 60)}`)
  if (call.name !== name) return no(`it called ${call.name}`)
  if (json(call.arguments) === undefined) return no('the arguments are not JSON')
  if (seen.finishReason !== 'tool_calls') return no(`it ended with ${seen.finishReason}`)
  return yes(`${call.name}(${call.arguments})`)
}

function brokenWell(seen: SubjectOutcome): CheckVerdict {
  if (seen.deltas === 0) return no(bad(seen))
  if (seen.finishReason) return no('the broken answer counts as complete')
  return seen.failed
    ? yes(`reported as a failure, ${seen.counts.outputTokens} tokens counted`)
    : no('it is not reported')
}

function json(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
