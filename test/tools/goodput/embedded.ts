/**
 * Real replicas: embedded engines with the tiny model, each in its own process on one thread. Prompt and answer have
 * exactly the requested lengths: tokens that would end the answer cannot be sampled.
 */
import { fileURLToPath } from 'node:url'
import { readChat } from '../../../backends/model/chat.ts'
import { createEmbeddedEngine } from '../../../gpu-worker/engine/embedded.ts'
import type { Engine, Prepared, Run } from '../../../gpu-worker/engine/engine.ts'
import { forkChild } from '../../../gpu-worker/engine/fork.ts'
import type { Rules } from '../../../gpu-worker/engine/messages.ts'
import type { PrefixHash } from '../../../src/fleet/placement/prefix-holders.ts'
import { seeded } from '../bench/figures.ts'
import type { Profile, Replica, Site, Work } from './replica.ts'

/** Longest sum of prompt and answer. */
export const contextTokens = 2_048

const modelPath = fileURLToPath(new URL('../../../gpu-worker/model/tiny.gguf', import.meta.url))

export interface EngineHost {
  profile: Profile
  engine: Engine
  /** A prompt of these token ids, and the rules of its answer. */
  prepared: (ids: Uint32Array) => Prepared
  pid: number | undefined
}

/** The caller must close the engine. */
export async function openHost(profile: Profile): Promise<EngineHost> {
  let pid: number | undefined
  const fork = (log: (line: string) => void) => {
    const child = forkChild(log)
    pid = child.pid
    return child
  }
  const engine = createEmbeddedEngine({
    modelPath,
    slotsMax: profile.slots,
    contextTokens,
    batchTokens: profile.stepTokens,
    prefillChunkTokens: profile.stepTokens / 2,
    threads: 1,
    gpu: false,
    log: console.error,
    fork,
  })
  await engine.start()
  const read = readChat({ model: 'tramontane-tiny', messages: [{ role: 'user', content: 'Hello!' }], temperature: 0.7 })
  if (!read.ok) throw new Error(read.message)
  const model = await engine.prepare(read.chat, 'none')
  if (!model.ok) throw new Error(model.message)
  const prompt = model.prompt as { rules: Rules }
  const { rules } = prompt
  const endless: Rules = { ...rules, endIds: [], bannedIds: [...rules.bannedIds, ...rules.endIds] }
  const prepared = (tokens: Uint32Array): Prepared => ({
    ...model,
    promptTokens: tokens.length,
    outputTokensFit: contextTokens - tokens.length,
    prompt: { ...prompt, tokens, rules: endless },
  })
  return { profile, engine, prepared, pid }
}

/** Token ids for these prefixes: equal prefixes get equal ids. */
function idsOf(prefix: readonly PrefixHash[]): Uint32Array {
  const ids = new Uint32Array(prefix.at(-1)?.tokens ?? 0)
  let at = 0
  for (const { hash, tokens } of prefix) {
    const random = seeded(hash)
    // Words of the vocabulary, without control tokens.
    for (; at < tokens; at++) ids[at] = 300 + Math.floor(random() * 500)
  }
  return ids
}

interface Open {
  work: Work
  run: Run
  stop: AbortController
}

/** One router's view of an engine; several routers use the engine one after another. */
export class EmbeddedReplica implements Replica {
  readonly profile: Profile
  readonly cacheTokensMax: number
  readonly running = new Map<string, Open>()
  readonly #host: EngineHost
  readonly #clock: Site['clock']
  /** Separates the prefix cache of each router and tenant. */
  readonly #owner: string
  /** Prefixes that the engine likely still holds, oldest first. */
  readonly #kept: Work[] = []
  readonly #cachedOf = new Map<string, number>()
  readonly #ended = { promptTokens: 0, cachedTokens: 0, outputTokens: 0 }
  #dead = false
  #idle: (() => void) | undefined

  constructor(host: EngineHost, clock: Site['clock'], owner: string) {
    this.profile = host.profile
    this.cacheTokensMax = host.profile.slots * contextTokens
    this.#host = host
    this.#clock = clock
    this.#owner = owner
  }

  get load(): number {
    return this.running.size
  }

  get dead(): boolean {
    return this.#dead
  }

  get cacheTokens(): number {
    return this.#host.engine.load().kvTokens
  }

  get promptTokensTotal(): number {
    return this.#total('promptTokens')
  }

  get cachedTokensTotal(): number {
    return this.#total('cachedTokens')
  }

  get outputTokensTotal(): number {
    return this.#total('outputTokens')
  }

  submit(work: Work): void {
    const { id, tenantId, outputTokens, prefix } = work
    const stop = new AbortController()
    const options = { requestId: id, outputTokensMax: outputTokens, priority: 0, owner: `${this.#owner} ${tenantId}` }
    const run = this.#host.engine.run(this.#host.prepared(idsOf(prefix)), options, stop.signal)
    this.running.set(id, { work, run, stop })
    this.#kept.push(work)
    if (this.#kept.length > this.profile.slots) this.#kept.shift()
    void this.#follow(work, run)
  }

  holds(prefix: PrefixHash[]): number {
    const hashes = new Set(this.#kept.flatMap((work) => work.prefix.map(({ hash }) => hash)))
    return prefix.findLast(({ hash }) => hashes.has(hash))?.tokens ?? 0
  }

  cachedOf(id: string): number {
    return this.#cachedOf.get(id) ?? 0
  }

  kill(): Work[] {
    this.#dead = true
    const lost = [...this.running.values()]
    for (const { stop } of lost) stop.abort()
    return lost.map(({ work }) => work)
  }

  /** Resolves when nothing runs. */
  async idle(): Promise<void> {
    if (this.running.size > 0) await new Promise<void>((resolve) => (this.#idle = resolve))
  }

  /** A failure of the engine is not handled: it ends the process. */
  async #follow(work: Work, run: Run): Promise<void> {
    for await (const event of run.events) {
      if (event.kind === 'started') work.onFirst(this.#clock.now)
    }
    const { promptTokens, cachedTokens, outputTokens } = run.counts
    this.running.delete(work.id)
    this.#ended.promptTokens += promptTokens
    this.#ended.cachedTokens += cachedTokens
    this.#ended.outputTokens += outputTokens
    this.#cachedOf.set(work.id, cachedTokens)
    if (this.running.size === 0) this.#idle?.()
    if (this.#dead) return
    if (promptTokens !== work.promptTokens || outputTokens !== work.outputTokens)
      throw new Error(`${work.id}: ${promptTokens} and ${outputTokens} tokens, not the requested lengths`)
    work.onEnd(this.#clock.now)
  }

  #total(count: 'promptTokens' | 'cachedTokens' | 'outputTokens'): number {
    return [...this.running.values()].reduce((sum, { run }) => sum + run.counts[count], this.#ended[count])
  }
}
