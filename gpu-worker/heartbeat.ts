/** Sends a heartbeat once a second, and at a change of state, so that the fleet knows this worker's slots. */
import { setTimeout as delay } from 'node:timers/promises'
import { below } from '../backends/contract/root.ts'
import { budgets } from '../backends/model/budgets.ts'
import { cleanText } from '../backends/model/clean-text.ts'
import { type Heartbeat, HeartbeatAnswerHead, heartbeatEveryMs, heartbeatPath } from '../backends/wire/heartbeat.ts'
import { isSpoken, unspokenText } from '../backends/wire/protocol.ts'
import { seal } from '../backends/wire/seal.ts'

/** Pause after the first heartbeat that fails at the start; it doubles with each further failure. */
const firstBeatsEveryMs = 100
/** Failures before the first log line: a gateway that restarts is unreachable only for a second or two. */
const missedBeforeLog = 30
/** The answer is one object of four fields. */
const answerBytesMax = 8_192

export interface HeartbeatOptions {
  edgeUrl: URL
  kid: string
  key: CryptoKey
  /** Returns the worker's current state. */
  state: () => Omit<Heartbeat, 'protocol'>
  log: (line: string) => void
}

/** The edge's answer to a heartbeat. */
type HeartbeatResult = 'heard' | 'refused' | 'no-answer'

export class Heartbeats {
  readonly #options: HeartbeatOptions
  #timer: NodeJS.Timeout | undefined
  #missed = 0
  #stopped = false
  /** The last logged reason, with its digits replaced by 0. */
  #reason: string | undefined
  #last: HeartbeatResult = 'heard'
  /** Number of consecutive heartbeats with the same result as the last. */
  #inRow = 0
  #mismatch: string | undefined

  constructor(options: HeartbeatOptions) {
    this.#options = options
  }

  /** Why this worker and the edge do not understand each other, by the edge's last answer; undefined if they do. */
  get mismatch(): string | undefined {
    return this.#mismatch
  }

  /** Resolves when the edge has accepted the first heartbeat. */
  async start(): Promise<void> {
    while (!this.#stopped && !(await this.beat())) await delay(pauseMs(this.#last, this.#inRow - 1))
    if (!this.#stopped) this.#next()
  }

  /** Returns whether the edge accepted it. Never rejects: an unreachable edge is logged once. */
  async beat(): Promise<boolean> {
    const result = await this.#send()
    this.#inRow = result === this.#last ? this.#inRow + 1 : 1
    this.#last = result
    return result === 'heard'
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  /** Does not wait for the heartbeat's answer: one that hangs does not delay the next. */
  #next(): void {
    const refused = this.#last === 'refused'
    const ms = refused ? Math.max(heartbeatEveryMs, pauseMs('refused', this.#inRow)) : heartbeatEveryMs
    this.#timer = setTimeout(() => {
      void this.beat()
      this.#next()
    }, ms)
  }

  async #send(): Promise<HeartbeatResult> {
    const { edgeUrl, key, kid, state, log } = this.#options
    try {
      const heartbeat = await seal('heartbeat', state(), kid, key)
      const response = await fetch(below(edgeUrl.href, heartbeatPath), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ heartbeat }),
        signal: AbortSignal.timeout(3_000),
      })
      const text = await textOf(response)
      if (response.status >= 500) throw new Error(`HTTP ${response.status} ${cleanText(text, 200)}`)
      if (this.#missed >= missedBeforeLog) log('heartbeat: the gateway answers again')
      this.#missed = 0
      const answer = answerIn(text)
      this.#mismatch = answer.mismatch
      const heard = response.ok && answer.mismatch === undefined
      const fault = response.ok ? undefined : `HTTP ${response.status} ${text}`
      this.#explain(heard, answer.mismatch ?? answer.reason ?? fault)
      return heard ? 'heard' : 'refused'
    } catch (error) {
      this.#missed += 1
      if (this.#missed === missedBeforeLog) log(`heartbeat: the gateway does not answer (${reason(error)}). Retrying`)
      return 'no-answer'
    }
  }

  /** Logs each reason once, and its end. Reasons that differ only in their numbers count as one. */
  #explain(heard: boolean, explanation: string | undefined): void {
    const text = explanation === undefined ? undefined : cleanText(explanation, budgets.workerReasonCharacters.value)
    const kind = text?.replace(/\d+/g, '0')
    if (kind === this.#reason) return
    this.#reason = kind
    if (text === undefined) this.#options.log('heartbeat: the gateway accepts this worker again')
    else this.#options.log(heard ? `heartbeat: ${text}` : `heartbeat refused: ${text}`)
  }
}

/** Pauses after refusals grow longer: an unreachable edge returns in a second or two, a refusal needs an operator. */
export function pauseMs(result: HeartbeatResult, failures: number): number {
  const maxMs = result === 'refused' ? budgets.heartbeatRetryMs.value : heartbeatEveryMs
  return Math.min(maxMs, firstBeatsEveryMs * 2 ** Math.min(failures, 16))
}

/** The reason in the fleet's answer, or the message of an error of the edge. */
function answerIn(text: string): { reason?: string | undefined; mismatch?: string } {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return {}
  }
  const answer = HeartbeatAnswerHead.safeParse(value)
  if (answer.success) {
    const { protocol, state, reason } = answer.data
    if (!isSpoken(protocol)) return { mismatch: unspokenText('the gateway', protocol, 'this worker') }
    // Only the edge knows that it does not read a newer worker.
    return state === 'incompatible' ? { mismatch: reason ?? state } : { reason }
  }
  const message = typeof value === 'object' && value !== null && 'message' in value ? value.message : undefined
  return typeof message === 'string' ? { reason: message } : {}
}

async function textOf(response: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of response.body ?? []) {
    length += part.byteLength
    if (length > answerBytesMax) break
    parts.push(part)
  }
  return new TextDecoder().decode(Buffer.concat(parts))
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? error.cause.message : error.message
}
