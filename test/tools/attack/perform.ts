/** Performs attacks one after another and compares the effect on the neighbour and the processes with the limits. */
import type { Attack } from './attack.ts'
import { Neighbour, type Noticed } from './neighbour.ts'
import { type Answer, leftovers, processes, startWorld, type World } from './world.ts'

/** How much longer than before the attack the neighbour's longest pause may be. */
const pauseBarMs = 1_000
const baselineMs = 6_000
const attackMaxMs = 90_000
const sampleEveryMs = 200
/** A process above this size is killed, so that a failed defence does not take the machine down. */
const memoryMaxBytes = 4 * 1024 ** 3

export interface AttackResult {
  name: string
  /** Number of answers by status. */
  answers: string
  chargedNano: number
  pauseMs: number
  baselineMs: number
  /** Peak memory by process, in bytes. */
  memory: Map<string, number>
  leftovers: string[]
  /** The limits that the attack broke; empty if none. */
  faults: string[]
}

export async function perform(
  attacks: readonly Attack[],
  onResult: (result: AttackResult, index: number) => void = () => undefined,
  barMs = pauseBarMs,
): Promise<AttackResult[]> {
  let world = await startWorld()
  let neighbour = new Neighbour(world)
  const results: AttackResult[] = []
  try {
    let baseline = await calm(neighbour)
    for (const [index, attack] of attacks.entries()) {
      const result = await performOne(world, neighbour, attack, baseline, barMs)
      results.push(result)
      onResult(result, index)
      if (result.faults.length === 0) continue
      // The next attack starts against a fresh product.
      await neighbour.stop()
      await world.stop()
      world = await startWorld()
      neighbour = new Neighbour(world)
      baseline = await calm(neighbour)
    }
  } finally {
    await neighbour.stop()
    await world.stop()
  }
  return results
}

async function calm(neighbour: Neighbour): Promise<number> {
  // Caches are cold for the first requests.
  await new Promise((resolve) => setTimeout(resolve, baselineMs / 2))
  neighbour.take()
  await new Promise((resolve) => setTimeout(resolve, baselineMs))
  return neighbour.take().longestPauseMs
}

async function performOne(
  world: World,
  neighbour: Neighbour,
  attack: Attack,
  baseline: number,
  barMs: number,
): Promise<AttackResult> {
  const before = pidsOf(world)
  const spentBefore = await spent(world)
  neighbour.take()
  const memory = new Map<string, number>()
  const sampler = setInterval(() => sample(world, memory), sampleEveryMs)
  const faults: string[] = []
  let answers: Answer[] = []
  try {
    const late = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), attackMaxMs).unref())
    const came = await Promise.race([attack.run(world), late])
    if (came) answers = came
    else faults.push(`not finished after ${attackMaxMs / 1_000} s`)
  } catch (error) {
    faults.push(`the attack program failed: ${error instanceof Error ? error.message.slice(0, 120) : error}`)
  }
  // Leftovers of the attack may still have an effect.
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  const left = await leftovers(world, () => neighbour.inFlight)
  clearInterval(sampler)
  sample(world, memory)
  const noticed = neighbour.take()
  const after = pidsOf(world)
  const lost = [...before]
    .filter(([name, pid]) => after.get(name) !== pid && !name.endsWith('compiler'))
    .map(([name]) => name)
  if (lost.length > 0) faults.push(`processes lost: ${lost.join(', ')}`)
  if (noticed.longestPauseMs > baseline + barMs) faults.push(await pauseFault(world, noticed))
  if (noticed.failures.length > 0)
    faults.push(`the neighbour had ${noticed.failures.length} failures: ${noticed.failures[0]}`)
  if (left.length > 0) faults.push(`not released: ${left.join(', ')}`)
  const judged = await judge(attack, answers, world)
  if (judged) faults.push(judged)
  return {
    name: attack.name,
    answers: statuses(answers),
    chargedNano: (await spent(world)) - spentBefore,
    pauseMs: noticed.longestPauseMs,
    baselineMs: baseline,
    memory,
    leftovers: left,
    faults,
  }
}

/** The pause, and how the fleet explains the request that had it. */
async function pauseFault(world: World, { longestPauseMs, longestPauseOf }: Noticed): Promise<string> {
  const { requestId = '', after = 0 } = longestPauseOf ?? {}
  const explained = await world.product
    .admin<unknown>('GET', `/admin/requests/${requestId}`)
    .then(JSON.stringify, (error: Error) => error.message)
  return `the neighbour waited ${longestPauseMs} ms after ${after} pieces of ${requestId}: ${explained}`
}

async function judge({ expect }: Attack, answers: readonly Answer[], world: World): Promise<string | undefined> {
  if (!expect || answers.length === 0) return undefined
  if (typeof expect === 'function') return expect(answers, world)
  const wrong = answers.find(({ status }) => !expect.includes(status))
  return wrong && `status ${wrong.status}, expected ${expect.join(' or ')}: ${wrong.text.slice(0, 100)}`
}

function statuses(answers: readonly Answer[]): string {
  const counts = Map.groupBy(answers, ({ status }) => status)
  return [...counts].map(([status, same]) => `${same.length}×${status || 'none'}`).join(' ')
}

async function spent(world: World): Promise<number> {
  return world.product.tenant(world.attacker.tenantId).then(
    ({ postedNano }) => postedNano,
    () => Number.NaN,
  )
}

function pidsOf(world: World): Map<string, number> {
  return new Map(
    processes(world.product)
      .filter(({ name }) => !name.endsWith('compiler'))
      .map(({ name, pid }) => [name, pid]),
  )
}

function sample(world: World, memory: Map<string, number>): void {
  for (const { name, pid, bytes } of processes(world.product)) {
    memory.set(name, Math.max(memory.get(name) ?? 0, bytes))
    if (bytes > memoryMaxBytes) process.kill(pid, 'SIGKILL')
  }
}

const columns = [
  'attack',
  'answers',
  'charged (nano-$)',
  'neighbour’s longest pause, during (before), ms',
  'peak memory (MiB): edge, workers, engines, compilers',
  'result',
] as const

export function headline(): string {
  return `\n| ${columns.join(' | ')} |\n|${columns.map(() => '---').join('|')}|\n`
}

export function row({ name, answers, chargedNano, pauseMs, baselineMs, memory, faults }: AttackResult): string {
  const peak = (part: string) => {
    const bytes = [...memory].filter(([process]) => process.endsWith(part)).map(([, size]) => size)
    return Math.round(Math.max(0, ...bytes) / 1_048_576)
  }
  const peaks = ['edge', 'worker', 'engine', 'compiler'].map(peak).join(', ')
  return `| ${name} | ${answers} | ${chargedNano} | ${pauseMs} (${baselineMs}) | ${peaks} | ${faults.length === 0 ? 'ok' : faults.join('; ')} |`
}
