/** Watches the workers from the fleet object's alarm, which also rings when no worker and no request calls it. */
import { heartbeatLostMs } from '../../backends/wire/heartbeat.ts'
import type { AlertSink } from './alert-sink.ts'
import { type Presence, presenceChange } from './presence.ts'

const watchEveryMs = 10_000

/** Storage of the presence; see `PresenceRows`. */
export interface PresenceStore {
  all: () => Presence[]
  has: (workerId: string) => boolean
  put: (row: Presence) => void
  remove: (workerId: string) => void
}

export interface PresenceParts {
  rows: PresenceStore
  /** Ids of the workers that send heartbeats now. */
  live: () => ReadonlySet<string>
  sink: () => AlertSink
  setAlarm: (time: number) => void
  now: () => number
}

export class PresenceWatch {
  readonly #parts: PresenceParts
  readonly #startedAt: number
  #alarmAt = 0

  constructor(parts: PresenceParts) {
    this.#parts = parts
    this.#startedAt = parts.now()
  }

  /** Call after each heartbeat that was accepted. */
  heard(workerId: string, leaves: boolean): void {
    const { rows } = this.#parts
    if (leaves) {
      rows.remove(workerId)
      return
    }
    if (!rows.has(workerId)) rows.put({ workerId, missedAt: null, lost: false })
    this.#schedule()
  }

  /** The worker’s key is no longer valid: it is not missed. */
  removed(workerId: string): void {
    this.#parts.rows.remove(workerId)
  }

  /** Call it from the alarm. Rows change only after the alerts were raised, so a failure repeats both. */
  async watch(): Promise<void> {
    const { rows, live, sink, now } = this.#parts
    this.#alarmAt = 0
    // Every live worker has time to send a heartbeat after this object started.
    if (now() - this.#startedAt > heartbeatLostMs) {
      const { put, alerts } = presenceChange(rows.all(), live(), now())
      try {
        if (alerts.length > 0) await sink().raise(alerts)
        for (const row of put) rows.put(row)
      } catch (error) {
        console.warn('fleet: the operators were not alerted of the workers. It is tried again.', error)
      }
    }
    if (rows.all().some(({ lost }) => !lost)) this.#schedule()
  }

  #schedule(): void {
    const { now, setAlarm } = this.#parts
    if (this.#alarmAt > now()) return
    this.#alarmAt = now() + watchEveryMs
    setAlarm(this.#alarmAt)
  }
}
