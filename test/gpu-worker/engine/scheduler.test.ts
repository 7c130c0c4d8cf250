import { describe, expect, it } from 'vitest'
import type { Job, StepReport } from '../../../gpu-worker/engine/messages.ts'
import { type BatchItem, type Decoder, type Sampler, Scheduler } from '../../../gpu-worker/engine/scheduler.ts'

const endId = 2
const options = { slotsMax: 2, contextTokens: 1_000, batchTokens: 64, prefillChunkTokens: 16, sharedStacksMax: 32 }

/**
 * A simulated library: it records every batch, checks that positions have no gaps, and lets the test act between two
 * steps. Its tokens are 100, 101, … for each run.
 */
function world(
  between: (step: number) => void = () => {},
  newSampler: () => Sampler = countingSampler,
  other: Partial<typeof options> = {},
) {
  const held = new Map<number, number[]>()
  const batches: BatchItem[][] = []
  const decoder: Decoder = {
    truncate(sequence, length) {
      held.set(sequence, (held.get(sequence) ?? []).slice(0, length))
    },
    async decode(items) {
      batches.push([...items])
      for (const { sequence, position, tokens } of items) {
        const before = held.get(sequence) ?? []
        if (before.length !== position) throw new Error(`sequence ${sequence} holds ${before.length}, got ${position}`)
        held.set(sequence, [...before, ...tokens])
      }
      between(batches.length)
      return items.map((_, index) => index)
    },
    sampler: newSampler,
  }
  const reports: StepReport[] = []
  const idle = Promise.withResolvers<void>()
  let failed: unknown
  let work = 0
  const scheduler = new Scheduler({
    decoder,
    options: { ...options, ...other },
    report: (report) => reports.push(report),
    fail: (error) => {
      failed = error
      idle.resolve()
    },
    clock: () => ({ wall: work, processor: work }),
  })
  /** Advances both clocks by `ms`. */
  const worked = (ms: number) => {
    work += ms
  }
  return { scheduler, batches, reports, worked, failed: () => failed }
}

function countingSampler(): Sampler {
  let next = 100
  return { set() {}, sample: async () => next++, complete: () => false }
}

function job(promptTokens: number | number[], outputTokensMax: number, priority = 0): Job {
  const tokens =
    typeof promptTokens === 'number' ? Array.from({ length: promptTokens }, (_, index) => index) : promptTokens
  return {
    tokens: Uint32Array.from(tokens),
    outputTokensMax,
    priority,
    owner: 'a',
    sampling: { temperature: 0, topP: 1, seed: 0, frequencyPenalty: 0, presencePenalty: 0 },
    rules: {
      endIds: [endId],
      bannedIds: [],
      thinkId: 34,
      thinkEndId: 35,
      callId: null,
      argsId: 33,
      again: null,
      mayThink: false,
      inThinking: false,
      content: null,
      call: null,
    },
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve))
}

const ended = (reports: StepReport[]) => reports.flatMap((report) => report.ended)
function sampledOf(reports: StepReport[], id: number): number[] {
  return reports.flatMap(({ sampled }) => sampled.filter((_, index) => index % 2 === 1 && sampled[index - 1] === id))
}

describe('scheduler', () => {
  it('[ENG22] one run reads a batch’s logits alone before the others do, because the first read reorders them', async () => {
    let reading = 0
    let read = 0
    const overlaps: number[] = []
    const { scheduler } = world(
      () => {
        read = 0
      },
      () => ({
        set() {},
        async sample() {
          if (read === 0) overlaps.push(reading)
          reading += 1
          const first = read++ === 0
          await new Promise((resolve) => setTimeout(resolve, 2))
          if (first) overlaps.push(reading)
          reading -= 1
          return 100
        },
        complete: () => false,
      }),
    )
    scheduler.run(1, job(4, 5))
    scheduler.run(2, job(4, 5))
    await new Promise((resolve) => setTimeout(resolve, 120))
    expect(overlaps.length).toBeGreaterThan(6)
    expect(new Set(overlaps)).toEqual(new Set([0, 1]))
  })

  it('[ENG3] a run that arrives while another decodes joins at the next step, and they share batches', async () => {
    const it = world((step) => {
      if (step === 5) it.scheduler.run(2, job([50, 51, 52], 5))
    })
    it.scheduler.run(1, job([1, 2, 3], 12))
    await settle()
    const shared = it.batches.filter((batch) => batch.length === 2)
    expect(it.batches.findIndex((batch) => batch.length === 2)).toBe(5)
    expect(shared.length).toBe(5)
    expect(ended(it.reports)).toEqual([
      { id: 2, reason: 'length' },
      { id: 1, reason: 'length' },
    ])
    expect(sampledOf(it.reports, 1)).toHaveLength(12)
    expect(it.batches).toHaveLength(12)
  })

  it('[ENG3] a sequence is freed in the step in which its run ends', async () => {
    const it = world()
    for (const id of [1, 2, 3]) it.scheduler.run(id, job([id, id], 3))
    await settle()
    expect(it.batches).toHaveLength(6)
    expect(ended(it.reports).map(({ id }) => id)).toEqual([1, 2, 3])
  })

  it('[ENG4] a long prompt never takes more than one chunk between two tokens of another run', async () => {
    const it = world((step) => {
      if (step === 3) it.scheduler.run(2, job(100, 1))
    })
    it.scheduler.run(1, job([1], 20))
    await settle()
    const prompts = it.batches.slice(3, 10)
    expect(prompts.map((batch) => batch.map((item) => item.tokens.length))).toEqual([
      ...Array.from({ length: 6 }, () => [1, 16]),
      [1, 4],
    ])
    expect(it.reports.flatMap((report) => report.prefilled)).toEqual([1, 1, ...Array(6).fill([2, 16]).flat(), 2, 4])
  })

  it('[ENG5] an abort during a prompt ends the run after that chunk, and the computed tokens are counted', async () => {
    const it = world((step) => {
      if (step === 2) it.scheduler.abort(1)
    })
    it.scheduler.run(1, job(100, 5))
    await settle()
    expect(it.batches).toHaveLength(2)
    expect(it.reports.flatMap((report) => report.prefilled)).toEqual([1, 16, 1, 16])
    expect(ended(it.reports)).toEqual([{ id: 1, reason: 'abort' }])
    expect(it.reports.at(-1)?.kvTokens).toBe(0)
  })

  it('[ENG5] an abort ends a decoding run within one token and a waiting run at once', async () => {
    const it = world((step) => {
      if (step !== 4) return
      it.scheduler.abort(1)
      it.scheduler.abort(3)
    })
    it.scheduler.run(1, job([1, 2], 50))
    it.scheduler.run(2, job([3, 4], 6))
    it.scheduler.run(3, job([5, 6], 50))
    await settle()
    expect(sampledOf(it.reports, 1)).toHaveLength(4)
    expect(sampledOf(it.reports, 3)).toHaveLength(0)
    expect(ended(it.reports)).toEqual([
      { id: 1, reason: 'abort' },
      { id: 3, reason: 'abort' },
      { id: 2, reason: 'length' },
    ])
  })

  it('[ENG6] a run with a common prefix reuses the tokens of a sequence and computes only the others', async () => {
    const it = world()
    it.scheduler.run(1, job([1, 2, 3, 4], 3))
    await settle()
    it.scheduler.run(2, job([1, 2, 3, 4, 100, 101, 7], 1))
    await settle()
    it.scheduler.run(3, job([1, 2, 9], 1))
    await settle()
    expect(it.reports.flatMap((report) => report.cached)).toEqual([1, 0, 2, 6, 3, 2])
    expect(it.batches.slice(3).map((batch) => [...(batch[0]?.tokens ?? [])])).toEqual([[7], [9]])
    expect(it.failed()).toBeUndefined()
  })

  it('[ENG20] among waiting runs the smaller priority gets the next free sequence', async () => {
    const it = world()
    it.scheduler.run(1, job([1], 2))
    it.scheduler.run(2, job([2], 2))
    it.scheduler.run(3, job([3], 2, 5))
    it.scheduler.run(4, job([4], 2, 1))
    await settle()
    expect(it.reports.flatMap((report) => report.cached.filter((_, index) => index % 2 === 0))).toEqual([1, 2, 4, 3])
  })

  it('[ENG13] no run grows beyond its context', async () => {
    const it = world()
    it.scheduler.run(1, job(990, 100))
    await settle()
    expect(sampledOf(it.reports, 1)).toHaveLength(10)
    expect(ended(it.reports)).toEqual([{ id: 1, reason: 'length' }])
  })

  it('[ENG11] with a response format the first token is sampled again under its grammar, whose end ends the run', async () => {
    const bound: boolean[] = []
    const it = world(undefined, () => {
      let underGrammar = false
      return {
        set(_, grammar) {
          underGrammar = grammar !== null
        },
        async sample() {
          bound.push(underGrammar)
          return underGrammar ? 200 : 100
        },
        complete: () => bound.length === 4,
      }
    })
    const base = job([1], 50)
    const content = { text: 'root ::= object', ends: true, stacks: 14 }
    it.scheduler.run(1, { ...base, rules: { ...base.rules, mayThink: true, content } })
    await settle()
    expect(bound).toEqual([false, true, true, true])
    expect(sampledOf(it.reports, 1)).toEqual([200, 200, 200])
    expect(ended(it.reports)).toEqual([{ id: 1, reason: 'closed' }])
  })

  it('[ENG11] a run fails alone if no token matches its grammar', async () => {
    let made = 0
    const it = world(undefined, () =>
      made++ === 0 ? { ...countingSampler(), sample: async () => -1 } : countingSampler(),
    )
    it.scheduler.run(1, job([1], 5))
    it.scheduler.run(2, job([2], 5))
    await settle()
    expect(ended(it.reports)).toEqual([
      { id: 1, reason: 'failed' },
      { id: 2, reason: 'length' },
    ])
  })

  it('[EGS24] a run whose grammar costs too much per token ends alone, and the others are cleared', async () => {
    const costs = [300, 20, 20]
    let made = 0
    const it = world(
      undefined,
      () => {
        const cost = costs[made++] ?? 0
        let next = 100
        return {
          set() {},
          async sample() {
            // As in a thread pool: the processor time of parallel samples adds up.
            await undefined
            it.worked(cost)
            return next++
          },
          complete: () => false,
        }
      },
      { slotsMax: 3 },
    )
    const content = { text: 'root ::= object', ends: true, stacks: 14 }
    for (const id of [1, 2, 3]) it.scheduler.run(id, { ...job([id], 60), rules: { ...job([1], 1).rules, content } })
    await settle()
    await settle()
    expect(ended(it.reports).sort((a, b) => a.id - b.id)).toEqual([
      { id: 1, reason: 'costly' },
      { id: 2, reason: 'length' },
      { id: 3, reason: 'length' },
    ])
    expect(sampledOf(it.reports, 1).length).toBeLessThan(12)
  })

  it('[EGS24] runs with slow grammars take turns, one per step, and get a quarter of the time while others compute', async () => {
    let slowMs = 0
    let otherMs = 0
    const it = world(
      () => {
        otherMs += 10
        it.worked(10)
      },
      () => {
        let slow = false
        let next = 100
        return {
          set(_, grammar) {
            slow = grammar !== null
          },
          async sample() {
            await undefined
            if (slow) slowMs += 40
            it.worked(slow ? 40 : 0)
            return next++
          },
          complete: () => false,
        }
      },
      { slotsMax: 4 },
    )
    const content = { text: 'root ::= object', ends: true, stacks: 200 }
    const { rules } = job([1], 1)
    for (const id of [1, 2, 3]) it.scheduler.run(id, { ...job([id, id], 20), rules: { ...rules, content } })
    it.scheduler.run(4, job([4], 200))
    await settle()
    await settle()
    await settle()
    const plainEnd = it.reports.findIndex((report) => report.ended.some(({ id }) => id === 4))
    const before = it.reports.slice(0, plainEnd)
    for (const { sampled } of before)
      expect(sampled.filter((id, at) => at % 2 === 0 && id !== 4).length).toBeLessThan(2)
    const tokens = [1, 2, 3].map((id) => sampledOf(before, id).length)
    expect(Math.max(...tokens) - Math.min(...tokens)).toBeLessThan(2)
    const share = (tokens.reduce((sum, count) => sum + count, 0) * 40) / (200 * 10)
    expect(share).toBeGreaterThan(0.15)
    expect(share).toBeLessThan(0.4)
    // Without other runs, the slow runs get all the time.
    expect(ended(it.reports).map(({ reason }) => reason)).toEqual(['length', 'length', 'length', 'length'])
    expect(slowMs).toBe(3 * 20 * 40)
    expect(otherMs).toBeLessThan(4_000)
  })

  it('[EGS24] one token that takes half a second ends its run; runs without a grammar are not measured', async () => {
    let made = 0
    const it = world(undefined, () => {
      const cost = made++ === 0 ? 600 : 70
      return {
        set() {},
        async sample() {
          await undefined
          it.worked(cost)
          return 100
        },
        complete: () => false,
      }
    })
    const content = { text: 'root ::= object', ends: true, stacks: 14 }
    it.scheduler.run(1, { ...job([1], 60), rules: { ...job([1], 1).rules, content } })
    it.scheduler.run(2, job([2], 30))
    await settle()
    expect(ended(it.reports)).toEqual([
      { id: 1, reason: 'costly' },
      { id: 2, reason: 'length' },
    ])
    expect(sampledOf(it.reports, 1).length).toBe(1)
  })

  it('[EGS24] a grammar that the library rejects ends only its own run, before the run starts or later', async () => {
    const it = world(undefined, () => ({
      ...countingSampler(),
      set(_, grammar) {
        if (grammar?.text === 'bad') throw new Error('no grammar')
      },
    }))
    const bad = { text: 'bad', ends: true, stacks: 14 }
    const { rules } = job([1], 1)
    it.scheduler.run(1, { ...job([1], 9), rules: { ...rules, content: bad } })
    it.scheduler.run(2, { ...job([2], 9), rules: { ...rules, content: bad, mayThink: true } })
    it.scheduler.run(3, job([3], 5))
    await settle()
    expect(ended(it.reports).sort((a, b) => a.id - b.id)).toEqual([
      { id: 1, reason: 'failed' },
      { id: 2, reason: 'failed' },
      { id: 3, reason: 'length' },
    ])
    expect(it.failed()).toBeUndefined()
    expect(it.reports.at(-1)?.kvTokens).toBe(0)
  })

  it('[ENG3] each run ends exactly once, and the cache is empty after all of them', async () => {
    const it = world((step) => {
      if (step % 3 === 0) it.scheduler.abort(1 + ((step * 7) % 30))
    })
    for (let id = 1; id <= 30; id++) it.scheduler.run(id, job(((id * 13) % 60) + 1, ((id * 5) % 9) + 1, id % 3))
    await settle()
    expect(
      ended(it.reports)
        .map(({ id }) => id)
        .sort((a, b) => a - b),
    ).toEqual(Array.from({ length: 30 }, (_, index) => index + 1))
    expect(it.reports.at(-1)?.kvTokens).toBe(0)
    expect(it.failed()).toBeUndefined()
  })
})
