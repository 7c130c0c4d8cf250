/**
 * Tokens per second of the embedded engine and of the same library in a bare loop, at 1, 8 and 32 concurrent requests.
 *
 *   node test/tools/bench/engine.ts [rounds]
 *
 * Both run in child processes with the same model, prompts and lengths. Rounds alternate and medians are compared,
 * since the machine may be shared. The engine's figure includes everything from `run` to the last event: messages
 * between processes, text, reasoning split, counts. Prompts differ from the first word, so the prefix cache does not
 * help.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { readChat } from '../../../backends/model/chat.ts'
import { createEmbeddedEngine } from '../../../gpu-worker/engine/embedded.ts'
import type { Engine, Prepared } from '../../../gpu-worker/engine/engine.ts'
import type { Rules } from '../../../gpu-worker/engine/messages.ts'
import type { BareRound } from './bare-loop.ts'
import { quantile } from './figures.ts'

const modelPath = fileURLToPath(new URL('../../../gpu-worker/model/tiny.gguf', import.meta.url))
const outputTokens = 64
const contextTokens = 512
const batchTokens = 512
const threads = 1

export interface EngineFigures {
  concurrency: number
  engineTokensPerSecond: number
  bareTokensPerSecond: number
  /** Median and quartiles of the ratio per round: adjacent runs share the state of the machine. */
  ratio: number
  ratioQuarters: [number, number]
}

export async function benchEngine(rounds: number): Promise<EngineFigures[]> {
  const figures: EngineFigures[] = []
  for (const concurrency of [1, 8, 32]) figures.push(await compare(concurrency, rounds))
  return figures
}

async function compare(concurrency: number, roundsMax: number): Promise<EngineFigures> {
  const engine = createEmbeddedEngine({
    modelPath,
    slotsMax: concurrency,
    contextTokens,
    batchTokens,
    threads,
    gpu: false,
    log: console.error,
  })
  const bare = fork(
    fileURLToPath(new URL('./bare-loop.ts', import.meta.url)),
    [modelPath, concurrency, contextTokens, batchTokens, threads].map(String),
    { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] },
  )
  await Promise.all([engine.start(), once(bare, 'message')])
  // A single request is short: send several per round to make a round long enough to time.
  const repeats = concurrency === 1 ? 8 : 1
  const rounds: { ownMs: number; bareMs: number }[] = []
  // The first round is a warm-up.
  for (let round = 0; round <= roundsMax; round++) {
    const sum = { ownMs: 0, bareMs: 0 }
    for (let repeat = 0; repeat < repeats; repeat++) {
      const requests = await prepareRound(engine, concurrency, round * repeats + repeat)
      if (round % 2 === 0) sum.ownMs += await runEngine(engine, requests)
      sum.bareMs += await runBare(bare, requests)
      if (round % 2 === 1) sum.ownMs += await runEngine(engine, requests)
    }
    if (round > 0) rounds.push(sum)
  }
  bare.kill()
  await engine.close()
  const tokens = concurrency * outputTokens * repeats
  const ratios = rounds.map(({ ownMs, bareMs }) => bareMs / ownMs)
  return {
    concurrency,
    engineTokensPerSecond:
      (tokens /
        quantile(
          rounds.map(({ ownMs }) => ownMs),
          0.5,
        )) *
      1_000,
    bareTokensPerSecond:
      (tokens /
        quantile(
          rounds.map(({ bareMs }) => bareMs),
          0.5,
        )) *
      1_000,
    ratio: quantile(ratios, 0.5),
    ratioQuarters: [quantile(ratios, 0.25), quantile(ratios, 0.75)],
  }
}

async function prepareRound(engine: Engine, concurrency: number, round: number): Promise<Prepared[]> {
  const requests: Prepared[] = []
  for (let index = 0; index < concurrency; index++) {
    const system = `${round * 100 + index} is your number. Keep answers short.`
    const read = readChat({
      model: 'tramontane-tiny',
      messages: [
        { role: 'system', content: system },
        { role: 'user', content: 'Tell me a story about a fox.' },
      ],
      temperature: 0.7,
      seed: index,
    })
    if (!read.ok) throw new Error(read.message)
    const prepared = await engine.prepare(read.chat, 'none')
    if (!prepared.ok) throw new Error('the bench request was refused')
    requests.push(withoutEnd(prepared))
  }
  return requests
}

/** Every request generates its full length, as the bare loop does. */
function withoutEnd(prepared: Prepared): Prepared {
  const prompt = prepared.prompt as { rules: Rules }
  const { rules } = prompt
  const endless: Rules = { ...rules, endIds: [], bannedIds: [...rules.bannedIds, ...rules.endIds] }
  return { ...prepared, prompt: { ...prompt, rules: endless } }
}

async function runEngine(engine: Engine, requests: readonly Prepared[]): Promise<number> {
  const signal = new AbortController().signal
  const startedAt = performance.now()
  const outputs = await Promise.all(
    requests.map(async (prepared, index) => {
      const run = engine.run(
        prepared,
        { requestId: `bench-${index}`, outputTokensMax: outputTokens, priority: 0, owner: 'bench' },
        signal,
      )
      for await (const _ of run.events) {
        // Only the count matters.
      }
      return run.counts.outputTokens
    }),
  )
  const ms = performance.now() - startedAt
  if (outputs.some((count) => count !== outputTokens)) throw new Error('a request ended early')
  return ms
}

async function runBare(bare: ReturnType<typeof fork>, requests: readonly Prepared[]): Promise<number> {
  const prompts = requests.map(({ prompt }) => [...(prompt as { tokens: Uint32Array }).tokens])
  const answer = once(bare, 'message')
  bare.send({ prompts, outputTokens } satisfies BareRound)
  return (await answer)[0] as number
}

if (import.meta.main) {
  const rounds = Number(process.argv[2] ?? 9)
  console.log(`${cpus()[0]?.model.trim()}, ${threads} engine thread, ${outputTokens} tokens out, ${rounds} rounds`)
  console.log('requests   engine tok/s   bare loop tok/s   ratio (quarters)')
  for (const figures of await benchEngine(rounds)) {
    const { concurrency, engineTokensPerSecond, bareTokensPerSecond, ratio, ratioQuarters } = figures
    const [low, high] = ratioQuarters.map((each) => each.toFixed(2))
    console.log(
      String(concurrency).padStart(8),
      engineTokensPerSecond.toFixed(0).padStart(14),
      bareTokensPerSecond.toFixed(0).padStart(17),
      `  ${ratio.toFixed(2)} (${low}–${high})`,
    )
  }
}
