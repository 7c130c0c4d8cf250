/** How long an event loop has been silent, as its watchdog counts it; pure. */

/** The loop counts, and the thread looks, so often. */
export const watchdogEveryMs = 250

/** What the thread is given. */
export interface Watched {
  /** 32-bit integers: the loop's count, then the ids of processes to end, 0 for none. */
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

/** A look that comes later than this was held up by a full machine, and so was the loop: only this much counts. */
const countedMostMs = 4 * watchdogEveryMs
/** A look that comes later than this was held up by a signal or a sleeping machine: the loop gets its whole time again. */
const pausedMs = 8 * watchdogEveryMs

export function looked({ beats, silentMs }: Silence, seenBeats: number, sinceLastLookMs: number): Silence {
  if (seenBeats !== beats) return { beats: seenBeats, silentMs: 0 }
  if (sinceLastLookMs > pausedMs) return { beats, silentMs: 0 }
  return { beats, silentMs: silentMs + Math.min(countedMostMs, Math.max(0, sinceLastLookMs)) }
}
