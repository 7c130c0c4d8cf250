/** Computes how long an event loop has been silent. Pure functions. */

/** Interval at which the event loop counts and the watchdog thread checks. */
export const watchdogEveryMs = 250

/** Input of the watchdog thread. */
export interface Watched {
  /** 32-bit integers: the loop's count, then the ids of processes to kill, 0 for none. */
  shared: SharedArrayBuffer
  workerId: string
  pid: number
  notePath: string
  silentMs: number
}

export const childPidsMax = 8
export const watchedBytes = (1 + childPidsMax) * Int32Array.BYTES_PER_ELEMENT

export interface Silence {
  beats: number
  silentMs: number
}

/** A late check means an overloaded machine, which delays the loop too: at most this much of the interval counts. */
const countedMaxMs = 4 * watchdogEveryMs
/** A check later than this means a stopped process or a sleeping machine: the count of silence restarts at zero. */
const pausedMs = 8 * watchdogEveryMs

export function looked({ beats, silentMs }: Silence, seenBeats: number, sinceLastLookMs: number): Silence {
  if (seenBeats !== beats) return { beats: seenBeats, silentMs: 0 }
  if (sinceLastLookMs > pausedMs) return { beats, silentMs: 0 }
  return { beats, silentMs: silentMs + Math.min(countedMaxMs, Math.max(0, sinceLastLookMs)) }
}
