/**
 * Measured speed of workers of one kind: the time per output token by batch size, and the prompt reading rate. The only
 * assumption about an engine is that a larger batch never makes it faster. Prompts read between output tokens are part
 * of the measurement, as they are part of the latency.
 *
 * Fading sums per bucket, two buckets per doubling of the batch, with linear interpolation between buckets (pooled
 * where values would fall: Ayer et al., 1955). Beyond the measured batches, time scales with the square root of the
 * batch: a compromise between engines bound by memory bandwidth and by arithmetic, until the next size is measured.
 * (With a flat line downwards, a lone request would seem as slow as one on a full worker, and its target unreachable by
 * the hardware.)
 *
 * The largest batch sizes are forgotten if none has run for a while. One second in which a long prompt was read can
 * make a size look too slow for any target; then no batch grows that large, and no measurement would correct the value.
 */
import { promptSpeedMemory, speedBatchMax, speedBuckets, speedMemoryMs, speedStaleMs } from './tuning.ts'

/** Fading sums: long reports weigh more than short ones. */
interface SpeedBucket {
  busyMs: number
  tokens: number
  /** Time of the last report, by the fleet's clock. */
  at: number
}

export interface Speed {
  /** Speed over all worker kinds of the model, used until this kind is measured. */
  wide: Speed | undefined
  known: (SpeedBucket | undefined)[]
  /** By batch size; empty until measured. */
  tokenMs: Float64Array
  /** Prompt tokens read per millisecond; undefined until measured. */
  promptPerMs: number | undefined
  promptSeen: number
}

export function newSpeed(wide: Speed | undefined): Speed {
  return {
    wide,
    known: new Array<SpeedBucket | undefined>(speedBuckets).fill(undefined),
    tokenMs: new Float64Array(0),
    promptPerMs: undefined,
    promptSeen: 0,
  }
}

/** Adds a measurement: a mean batch of `batch` wrote `tokens` in `busyMs`; both are summed over its requests. */
export function observeTokens(speed: Speed, batch: number, busyMs: number, tokens: number, now: number): void {
  if (speed.wide) observeTokens(speed.wide, batch, busyMs, tokens, now)
  const index = bucketOf(batch)
  const before = speed.known[index] ?? { busyMs: 0, tokens: 0, at: now }
  const fade = Math.exp(-Math.max(0, now - before.at) / speedMemoryMs)
  const bucket = { busyMs: before.busyMs * fade + busyMs, tokens: before.tokens * fade + tokens, at: now }
  if (bucket.tokens < 1) return
  speed.known[index] = bucket
  forgetLargest(speed.known, index, now - speedStaleMs)
  speed.tokenMs = tableOf(speed.known)
}

/** Forgets buckets from the top down to `index`, or to one reported after `since`. */
function forgetLargest(known: (SpeedBucket | undefined)[], index: number, since: number): void {
  for (let last = speedBuckets - 1; last > index; last--) {
    if ((known[last]?.at ?? Number.NEGATIVE_INFINITY) >= since) return
    known[last] = undefined
  }
}

/** Adds a measurement: `tokens` of prompts, including those queued before it, were read in `ms`. */
export function observePrompt(speed: Speed, tokens: number, ms: number): void {
  if (speed.wide) observePrompt(speed.wide, tokens, ms)
  const perMs = tokens / Math.max(1, ms)
  speed.promptSeen = Math.min(promptSpeedMemory, speed.promptSeen + 1)
  speed.promptPerMs ??= perMs
  speed.promptPerMs += (perMs - speed.promptPerMs) / speed.promptSeen
}

/** Prompt tokens read per millisecond; undefined until measured. */
export function promptPerMs(speed: Speed): number | undefined {
  return speed.promptPerMs ?? speed.wide?.promptPerMs
}

/** Time per token at a batch size, in milliseconds; 0 until measured. */
export function tokenMsAt(speed: Speed, batch: number): number {
  const tokenMs = tableFor(speed)
  return tokenMs[Math.min(batch, tokenMs.length - 1)] ?? 0
}

/** The largest batch whose time per token is within `tokenMs`, from 1 to `max`; `max` until measured. */
export function batchWithin(speed: Speed, tokenMs: number, max: number): number {
  const table = tableFor(speed)
  if (table.length === 0) return max
  let low = 1
  let high = Math.min(max, speedBatchMax)
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if ((table[middle] ?? 0) <= tokenMs) low = middle
    else high = middle - 1
  }
  return low
}

/** Empty until measured. */
function tableFor({ tokenMs, wide }: Speed): Float64Array {
  return tokenMs.length === 0 && wide ? wide.tokenMs : tokenMs
}

export function isKnown(speed: Speed): boolean {
  return tableFor(speed).length > 0
}

function bucketOf(batch: number): number {
  return Math.min(speedBuckets - 1, Math.max(0, Math.round(2 * Math.log2(Math.max(1, batch)))))
}

function tableOf(known: (SpeedBucket | undefined)[]): Float64Array {
  const points = pooled(
    known.flatMap((bucket, index) =>
      bucket ? [{ batch: 2 ** (index / 2), ms: bucket.busyMs / bucket.tokens, weight: bucket.tokens }] : [],
    ),
  )
  const table = new Float64Array(speedBatchMax + 1)
  const first = points[0]
  if (!first) return new Float64Array(0)
  let at = 0
  for (let batch = 0; batch <= speedBatchMax; batch++) {
    while (at + 1 < points.length && (points[at + 1]?.batch ?? 0) <= batch) at += 1
    const from = points[at] ?? first
    const to = points[at + 1]
    if (to && batch >= from.batch)
      table[batch] = from.ms + ((to.ms - from.ms) * (batch - from.batch)) / (to.batch - from.batch)
    else table[batch] = from.ms * Math.sqrt(batch / from.batch)
  }
  return table
}

interface Point {
  batch: number
  ms: number
  weight: number
}

/** Makes the values monotonic: neighbours that would fall share their weighted mean. */
function pooled(points: Point[]): Point[] {
  const blocks: { points: Point[]; ms: number; weight: number }[] = []
  for (const point of points) {
    let block = { points: [point], ms: point.ms, weight: point.weight }
    for (let last = blocks.at(-1); last && last.ms > block.ms; last = blocks.at(-1)) {
      const weight = last.weight + block.weight
      const ms = (last.ms * last.weight + block.ms * block.weight) / weight
      block = { points: [...last.points, ...block.points], ms, weight }
      blocks.pop()
    }
    blocks.push(block)
  }
  return blocks.flatMap((block) => block.points.map((point) => ({ ...point, ms: block.ms })))
}
