/** Heartbeats: once a second and at every change, so that the pool knows this worker's slots. */
import { setTimeout as delay } from 'node:timers/promises'
import { type Heartbeat, heartbeatEveryMs, heartbeatPath } from '../backends/protocol/heartbeat.ts'
import { seal } from '../backends/protocol/seal.ts'

/** Until the gateway has heard it once, a worker says it more often. */
const firstBeatsEveryMs = 100
/** A gateway that restarts is away for a second or two; that is not worth a line. */
const missedBeforeLog = 30

export interface HeartbeatOptions {
  edgeUrl: URL
  kid: string
  key: CryptoKey
  /** What is true now. */
  state: () => Heartbeat
  log: (line: string) => void
}

export class Heartbeats {
  readonly #options: HeartbeatOptions
  #timer: NodeJS.Timeout | undefined
  #missed = 0
  #stopped = false

  constructor(options: HeartbeatOptions) {
    this.#options = options
  }

  /** Resolves when the gateway has heard this worker for the first time. */
  async start(): Promise<void> {
    while (!this.#stopped && !(await this.beat())) await delay(firstBeatsEveryMs)
    this.#timer = setInterval(() => void this.beat(), heartbeatEveryMs)
  }

  /** Whether the gateway heard it. Never rejects: an absent gateway is logged once and tried again at the next beat. */
  async beat(): Promise<boolean> {
    const { edgeUrl, key, kid, state, log } = this.#options
    try {
      const heartbeat = await seal('heartbeat', state(), kid, key)
      const response = await fetch(new URL(heartbeatPath, edgeUrl), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ heartbeat }),
        signal: AbortSignal.timeout(3_000),
      })
      if (!response.ok) throw new Error(`HTTP ${response.status} ${(await response.text()).slice(0, 200)}`)
      await response.body?.cancel()
      if (this.#missed >= missedBeforeLog) log('heartbeat: the gateway hears this worker again')
      this.#missed = 0
      return true
    } catch (error) {
      this.#missed += 1
      if (this.#missed === missedBeforeLog) log(`heartbeat: the gateway does not answer (${reason(error)}); trying on`)
      return false
    }
  }

  stop(): void {
    this.#stopped = true
    clearInterval(this.#timer)
  }
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? error.cause.message : error.message
}
