/** Heartbeats: once a second and at every change, so that the fleet knows this worker's slots. */
import { setTimeout as delay } from 'node:timers/promises'
import { budgets } from '../backends/model/budgets.ts'
import { cleanText } from '../backends/model/clean-text.ts'
import { type Heartbeat, HeartbeatAnswer, heartbeatEveryMs, heartbeatPath } from '../backends/wire/heartbeat.ts'
import { seal } from '../backends/wire/seal.ts'

/** The first pause while the edge has not heard this worker; doubled with each beat that it does not hear. */
const firstBeatsEveryMs = 100
/** A gateway that restarts is away for a second or two; that is not worth a line. */
const missedBeforeLog = 30
/** One object of three fields. */
const answerBytesMax = 8_192

export interface HeartbeatOptions {
  edgeUrl: URL
  kid: string
  key: CryptoKey
  /** What is true now. */
  state: () => Heartbeat
  log: (line: string) => void
}

/** How the edge took a beat. */
type HeartbeatResult = 'heard' | 'refused' | 'no-answer'

export class Heartbeats {
  readonly #options: HeartbeatOptions
  #timer: NodeJS.Timeout | undefined
  #missed = 0
  #stopped = false
  /** The last reason that was logged, without its numbers. */
  #reason: string | undefined
  #last: HeartbeatResult = 'heard'
  /** Beats in a row that were taken like the last. */
  #inRow = 0

  constructor(options: HeartbeatOptions) {
    this.#options = options
  }

  /** Resolves when the edge has taken a beat of this worker for the first time. */
  async start(): Promise<void> {
    while (!this.#stopped && !(await this.beat())) await delay(pauseMs(this.#last, this.#inRow - 1))
    if (!this.#stopped) this.#next()
  }

  /** Whether it counts. Never rejects: an absent edge is logged once and tried again at the next beat. */
  async beat(): Promise<boolean> {
    const taken = await this.#send()
    this.#inRow = taken === this.#last ? this.#inRow + 1 : 1
    this.#last = taken
    return taken === 'heard'
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  /** A beat that hangs holds up none of those after it. */
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
      const response = await fetch(new URL(heartbeatPath, edgeUrl), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ heartbeat }),
        signal: AbortSignal.timeout(3_000),
      })
      const text = await textOf(response)
      if (response.status >= 500) throw new Error(`HTTP ${response.status} ${cleanText(text, 200)}`)
      if (this.#missed >= missedBeforeLog) log('heartbeat: the gateway hears this worker again')
      this.#missed = 0
      this.#explain(response.ok, explanationIn(text) ?? (response.ok ? undefined : `HTTP ${response.status} ${text}`))
      return response.ok ? 'heard' : 'refused'
    } catch (error) {
      this.#missed += 1
      if (this.#missed === missedBeforeLog) log(`heartbeat: the gateway does not answer (${reason(error)}); trying on`)
      return 'no-answer'
    }
  }

  /** Logs each reason once, and that it is over. A number that changes in it makes no new reason. */
  #explain(heard: boolean, said: string | undefined): void {
    const text = said === undefined ? undefined : cleanText(said, budgets.workerReasonCharacters.value)
    const kind = text?.replace(/\d+/g, '0')
    if (kind === this.#reason) return
    this.#reason = kind
    if (text === undefined) this.#options.log('heartbeat: the gateway accepts this worker again')
    else this.#options.log(heard ? `heartbeat: ${text}` : `heartbeat refused: ${text}`)
  }
}

/** An edge that is away comes back in a second or two; what it refuses, an operator has to change. */
export function pauseMs(taken: HeartbeatResult, failures: number): number {
  const most = taken === 'refused' ? budgets.heartbeatRetryMs.value : heartbeatEveryMs
  return Math.min(most, firstBeatsEveryMs * 2 ** Math.min(failures, 16))
}

/** The sentence of the fleet's answer, or of an error of the edge. */
function explanationIn(text: string): string | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  const answer = HeartbeatAnswer.safeParse(value)
  if (answer.success) return answer.data.reason
  const message = typeof value === 'object' && value !== null && 'message' in value ? value.message : undefined
  return typeof message === 'string' ? message : undefined
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
