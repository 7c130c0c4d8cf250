/**
 * How fast workers of one kind are, learnt from what they report: the time between two tokens of an answer by how many
 * run beside it, and how fast prompts are read. Nothing is assumed of an engine but that more neighbours never make it
 * faster; other work of the moment (prompts read between the tokens) is in the figures, because it is in the answers.
 *
 * A batch's figure is kept in buckets, two to a doubling, as fading sums, and read between buckets by straight lines
 * (pooled where they would fall: Ayer et al., 1955). Beyond the largest and the smallest batch seen, time is taken to go
 * with the root of the batch: a guess between an engine that is bound by reading its weights and one that is bound by
 * arithmetic, and good enough for the next step, where it is learnt. (Taken as flat downwards, a lone request would seem
 * as slow as a full worker's, and a target that only a full worker misses as one that the hardware cannot meet.)
 *
 * The largest batches are forgotten when none has run for a while. A second in which a long prompt was read makes a
 * batch look too slow for any target; nothing that large is placed then, and nothing would ever correct it.
 */
const batchMax = 1_024
const buckets = 21
/** A bucket is over about so long. */
const memoryMs = 15_000
/** What is larger than all that was seen for so long is not known any more. */
const staleMs = 30_000
const promptMemory = 32

/** Sums that fade: long reports count for more than short ones. */
interface SpeedBucket {
  busyMs: number
  tokens: number
  /** When it was reported last, in the fleet's time. */
  at: number
}

export interface Speed {
  /** Of all kinds of worker of the model: what holds for one of which nothing is known yet. */
  wide: Speed | undefined
  known: (SpeedBucket | undefined)[]
  /** By batch; empty while nothing is known. */
  tokenMs: Float64Array
  /** Prompt tokens read a millisecond; undefined while nothing is known. */
  promptPerMs: number | undefined
  promptSeen: number
}

export function newSpeed(wide: Speed | undefined): Speed {
  return {
    wide,
    known: new Array<SpeedBucket | undefined>(buckets).fill(undefined),
    tokenMs: new Float64Array(0),
    promptPerMs: undefined,
    promptSeen: 0,
  }
}

/** While `batch` ran, on average, they wrote so many tokens in `busyMs`, summed over all of them. */
export function observeTokens(speed: Speed, batch: number, busyMs: number, tokens: number, now: number): void {
  if (speed.wide) observeTokens(speed.wide, batch, busyMs, tokens, now)
  const index = bucketOf(batch)
  const before = speed.known[index] ?? { busyMs: 0, tokens: 0, at: now }
  const fade = Math.exp(-Math.max(0, now - before.at) / memoryMs)
  const bucket = { busyMs: before.busyMs * fade + busyMs, tokens: before.tokens * fade + tokens, at: now }
  if (bucket.tokens < 1) return
  speed.known[index] = bucket
  forgetLargest(speed.known, index, now - staleMs)
  speed.tokenMs = tableOf(speed.known)
}

/** Down to `index`, or to a bucket that was reported since. */
function forgetLargest(known: (SpeedBucket | undefined)[], index: number, since: number): void {
  for (let last = buckets - 1; last > index; last--) {
    if ((known[last]?.at ?? Number.NEGATIVE_INFINITY) >= since) return
    known[last] = undefined
  }
}

/** `tokens` of prompts, those before it in the worker included, were read in `ms`. */
export function observePrompt(speed: Speed, tokens: number, ms: number): void {
  if (speed.wide) observePrompt(speed.wide, tokens, ms)
  const perMs = tokens / Math.max(1, ms)
  speed.promptSeen = Math.min(promptMemory, speed.promptSeen + 1)
  speed.promptPerMs ??= perMs
  speed.promptPerMs += (perMs - speed.promptPerMs) / speed.promptSeen
}

/** Prompt tokens read a millisecond; undefined while nothing is known. */
export function promptPerMs(speed: Speed): number | undefined {
  return speed.promptPerMs ?? speed.wide?.promptPerMs
}

/** The time between two tokens when `batch` run; 0 while nothing is known. */
export function tokenMsAt(speed: Speed, batch: number): number {
  const tokenMs = tableFor(speed)
  return tokenMs[Math.min(batch, tokenMs.length - 1)] ?? 0
}

/** The most that may run so that tokens come within `tokenMs`, at least 1; `most` while nothing is known. */
export function batchWithin(speed: Speed, tokenMs: number, most: number): number {
  const table = tableFor(speed)
  if (table.length === 0) return most
  let low = 1
  let high = Math.min(most, batchMax)
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if ((table[middle] ?? 0) <= tokenMs) low = middle
    else high = middle - 1
  }
  return low
}

/** Empty while nothing is known. */
function tableFor({ tokenMs, wide }: Speed): Float64Array {
  return tokenMs.length === 0 && wide ? wide.tokenMs : tokenMs
}

export function isKnown(speed: Speed): boolean {
  return tableFor(speed).length > 0
}

function bucketOf(batch: number): number {
  return Math.min(buckets - 1, Math.max(0, Math.round(2 * Math.log2(Math.max(1, batch)))))
}

function tableOf(known: (SpeedBucket | undefined)[]): Float64Array {
  const points = pooled(
    known.flatMap((bucket, index) =>
      bucket ? [{ batch: 2 ** (index / 2), ms: bucket.busyMs / bucket.tokens, weight: bucket.tokens }] : [],
    ),
  )
  const table = new Float64Array(batchMax + 1)
  const first = points[0]
  if (!first) return new Float64Array(0)
  let at = 0
  for (let batch = 0; batch <= batchMax; batch++) {
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

/** Never falling: neighbours that would fall share their weighted mean. */
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
