/**
 * Every number that placement is tuned by: unit, meaning, and source. "Goodput" means that a change of the value shows in
 * `npm run goodput` (thirteen traces, three seeds each), where it was chosen. "Judgement" means that nothing measured it
 * closely. Limits that only bound memory are marked as such.
 */
import type { PoolName } from '../../../backends/wire/dispatch.ts'

// Latency targets

export interface Target {
  /** Time from the request's arrival to its first token, in milliseconds. */
  firstTokenMs: number
  /** Mean time per output token over an answer, in milliseconds. */
  tokenMs: number
}

/** Source: MLPerf Inference, see latency-targets.ts. */
export const targets: Record<PoolName, Target> = {
  latency: { firstTokenMs: 1_500, tokenMs: 20 },
  throughput: { firstTokenMs: 2_000, tokenMs: 80 },
}
/** Part of a target that placement plans to use: the batch changes during an answer. Goodput. */
export const targetMargin = 0.9
/** A target is never below so many times what a lone request gets: hardware that cannot meet it is not held to it. Goodput. */
export const loneRateTimes = 2

// Choice of a worker

/** Part of the latency target up to which a long answer may join short ones: it runs for long and has a long prompt. Goodput. */
export const spillShare = 0.75
/** Score penalty of the other pool, in parts of the targets, so that requests spill only for a clear gain. Goodput. */
export const spillCost = 0.1
/**
 * Usable part of a KV cache. Lengths are estimates, and an engine with a full cache preempts its last request. But a
 * request that is kept waiting is certainly late, and shared prefixes are stored once yet counted for each request.
 * Goodput.
 */
export const kvFillMax = 1
/** Times the mean of its pool that a worker may run before its prefixes count for nothing. Source: Mirrokni et al., 2016. */
export const prefixShareMax = 1.25

// Shares of tenants

/** A tenant is over its share from so many times its share on. Judgement. */
export const overShareTimes = 2
/** Where that would be more: its share and this part of the rest. Of two equal tenants, from two thirds on. Judgement. */
export const overShareRest = 1 / 3
/** Part of a worker's slots and cache for a tenant that is over its share. Judgement: one slot in ten. */
export const overShareCapacity = 0.9
/**
 * Part of the first-token target that a request waits for the pace of a worker that another tenant fills. Goodput: with 0
 * the neighbours of a flood kept 85 % of their goodput instead of 95 %, because their batches grew past the target.
 */
export const overSharePatience = 1 / 6

// Split of the workers between the pools

/** Part of a pool's capacity that is usable on average, because arrivals are bursty. Goodput. */
export const poolUse = { latency: 0.75, throughput: 0.9 }
/** The same for long answers among short ones, which join only well below the target. Goodput. */
export const spillUse = 0.6
/** Seconds: a long answer that gets no slot within about this time is late. Goodput. */
export const splitPatienceSeconds = 1.4
/** A split must be better by this factor to replace the current one: long answers stay on a moved worker. Goodput. */
export const splitBetterBy = 1.04
/** Milliseconds between two looks at the split. Judgement. */
export const splitEveryMs = 1_000
/** Milliseconds that a move must look better before it happens. Goodput. */
export const splitEstimatedMs = 8_000
/** The same if requests wait for that pool only. Goodput. */
export const splitNeededMs = 3_000
/** The same for a worker full of long answers: until they end, it serves few short requests in time. Goodput. */
export const splitFullMs = 20_000
/** Time constant of the arrival rate, in milliseconds. Judgement. */
export const arrivalFadeMs = 30_000

// Lengths of prompts and answers

/** Mean prompt length before any request arrived, in tokens. Judgement. */
export const promptTokensPrior = 1_500
/** The mean covers about this many recent prompts. Judgement. */
export const promptTokensMemory = 100
/** Mean length of an answer before any ended, in tokens; see output-length.ts for the sources. */
export const priorTokens = { none: 300, thinking: 3_900 }
/** Weight of that prior, in answers. Judgement. */
export const lengthPriorWeight = 20
/** The mean covers about this many recent answers. Judgement. */
export const lengthMemory = 300
/** Means that are stored: effort times model. Bounds memory. */
export const lengthsKeptMax = 256

// Measured speed

/** The largest batch in the table of speeds, in requests. Bounds memory. */
export const speedBatchMax = 1_024
/** Buckets of the table, two to a doubling of the batch: 1 to 1,024. */
export const speedBuckets = 21
/** Time constant of a bucket's fading sums, in milliseconds. Goodput. */
export const speedMemoryMs = 15_000
/** Buckets above the largest recent batch are forgotten after so many milliseconds. Goodput. */
export const speedStaleMs = 30_000
/** The prompt reading rate covers about this many recent prompts. Judgement. */
export const promptSpeedMemory = 32
/** Heartbeat sums are too noisy with fewer running requests. Receipts measure those batch sizes. Judgement. */
export const reportedMin = 4
/** Milliseconds between two uses of a worker's heartbeat sums. Judgement. */
export const reportEveryMs = 500
/** Receipts of longer answers, in milliseconds, are not used: over a longer time the batch size changes. Judgement. */
export const answerMsMax = 30_000
/** Receipts with fewer output tokens say little about the pace. Judgement. */
export const answerTokensMin = 16
/** Receipts with fewer prompt tokens say little about the reading rate. Judgement. */
export const promptTokensMin = 256
/** How much of a worker's slowdown stays with each receipt. Judgement. */
export const slowdownFade = 0.95
/** A worker counts as at most so many times slower than its kind. Judgement. */
export const slowdownMax = 4
/** Weight of the prior that a worker is as fast as its kind, in answers times milliseconds. Judgement. */
export const slowdownEvenMs = 100_000

// Prefix hashes

/** Characters before the first hash of a prompt; the steps grow from there. Judgement. */
export const prefixFirstAt = 256
/** Hashes of one prompt. Bounds memory. */
export const prefixesMax = 64
/** Hashes that the fleet knows. Bounds memory: about 10 MB. */
export const prefixesKeptMax = 100_000
/** Workers that are remembered for one hash. Bounds memory. */
export const prefixHoldersMax = 8
/** Characters sampled from each end of a data URL: past the header, which many images share, into the image data. */
export const imageSampleCharacters = 4_096
