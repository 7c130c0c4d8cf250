/** Heartbeats: once a second and at every change, so that the pool knows this worker's slots. */
import { type Heartbeat, heartbeatEveryMs, heartbeatPath } from '../backends/protocol/heartbeat.ts'
import { seal } from '../backends/protocol/seal.ts'

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
  #heard = true

  constructor(options: HeartbeatOptions) {
    this.#options = options
  }

  /** Resolves after the first beat, heard or not. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.beat(), heartbeatEveryMs)
    await this.beat()
  }

  /** Never rejects: a gateway that is away is logged once and tried again at the next beat. */
  async beat(): Promise<void> {
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
      if (!this.#heard) log('heartbeat: the gateway hears this worker again')
      this.#heard = true
    } catch (error) {
      if (this.#heard)
        log(`heartbeat: the gateway does not answer (${error instanceof Error ? error.message : error}); trying on`)
      this.#heard = false
    }
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}
