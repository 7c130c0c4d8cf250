/**
 * `npm run eval`: effort × accuracy × output tokens of a model behind an OpenAI-style API. `--help` lists the options.
 *
 * Every finished case is written to the journal before it is counted; a second run asks only the missing cases. Ctrl-C
 * ends the requests in flight, keeps the finished cases and prints their table. Exit codes: 0 when all cases were
 * asked, 130 after Ctrl-C, 1 when cases failed or the server cannot serve this evaluation.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Case } from './case.ts'
import { type EvalOptions, optionsOf, usage } from './options.ts'
import { type Job, type Outcome, perform } from './perform.ts'
import { check, type Place, placeOf } from './place.ts'
import { plot } from './plot.ts'
import { type Confinement, confinement } from './sandbox.ts'
import { aime } from './sets/aime.ts'
import type { Reading } from './sets/jsonl.ts'
import { livecode } from './sets/livecode.ts'
import { long } from './sets/long.ts'
import { summary } from './summary.ts'
import { markdown, plain, tableOf } from './table.ts'
import { builtIn } from './tasks/tasks.ts'

const countDefault = 50
/** npm forwards a Ctrl-C that the terminal has already sent to this process; two within this time count as one. */
const oneCtrlCMs = 1_000

const root = fileURLToPath(new URL('../../..', import.meta.url))
const home = resolve(process.env.TRAMONTANE_HOME ?? join(root, '.tramontane'))

async function main(): Promise<number> {
  const options = optionsOf(process.argv.slice(2))
  if (options.help) {
    console.log(usage)
    return 0
  }
  const cases = casesOf(options)
  if (cases.length === 0) throw new Error('there are no cases to ask. Set --task, --aime, --livecode or --long')
  const place = await placeOf(options, home)
  await check(place)
  if (options.files.livecode) console.error(confined(confinement('python')))
  const out = resolve(options.out ?? join(home, 'eval'))
  const outcome = await perform(jobsOf(cases, options), options, place, out, onInterrupt())
  report(outcome, place, out)
  return outcome.stopped === 'interrupted' ? 130 : outcome.failed > 0 || outcome.stopped === 'hopeless' ? 1 : 0
}

/** Printed before the first program runs; without an interpreter the run ends here. */
function confined({ network, processes, otherUser }: Confinement): string {
  const isolation = [
    ...(otherUser ? ['as another user'] : ['as your user, so they can read your files']),
    network ? 'WITH network' : 'without network',
    processes ? 'isolated from other processes' : 'NOT isolated from other processes',
  ].join(', ')
  return `programs run with limits on time, memory, files and output; ${isolation}`
}

function casesOf(options: EvalOptions): Case[] {
  const { aime: problems, livecode: programs, long: texts } = options.files
  const own = options.tasks.flatMap((task) => builtIn(task, options.count ?? countDefault, options.seed))
  const read = (path: string | undefined, reader: (text: string) => Reading<Case>) =>
    path === undefined ? [] : fromFile(path, reader, options)
  return [
    ...own,
    ...read(problems, aime),
    ...read(programs, livecode),
    ...read(texts, (text) => long(text, options.longScore)),
  ]
}

function fromFile(path: string, reader: (text: string) => Reading<Case>, options: EvalOptions): Case[] {
  const { items, faults } = reader(readFileSync(path, 'utf8'))
  for (const { line, why } of faults) {
    const message = `${path}, line ${line}: ${why}`
    if (options.malformed === 'stop') throw new Error(`${message} (use --malformed skip to ignore such lines)`)
    console.error(`skipped: ${message}`)
  }
  return items.slice(0, options.count)
}

/** Groups the efforts of each case, so that an interrupted run can still be compared. */
function jobsOf(cases: readonly Case[], { efforts }: EvalOptions): Job[] {
  return cases.flatMap((one) => efforts.map((effort) => ({ one, effort })))
}

/** Active until the table is printed. A second Ctrl-C ends the process; npm's copy of the first does not count. */
function onInterrupt(): AbortSignal {
  const stop = new AbortController()
  let at: number | undefined
  const handle = () => {
    if (at !== undefined && performance.now() - at > oneCtrlCMs) process.exit(130)
    at ??= performance.now()
    stop.abort()
  }
  process.on('SIGINT', handle)
  process.on('SIGTERM', handle)
  return stop.signal
}

function report({ entries, failed, stopped }: Outcome, place: Place, out: string): void {
  if (entries.length === 0) return
  const rows = summary(entries, place.rates)
  const table = tableOf(rows)
  const sum = rows.every((row) => row.costNano !== null)
    ? rows.reduce((total, row) => total + (row.costNano ?? 0), 0)
    : null
  const notes = [
    `${entries.length} cases of ${place.model}`,
    ...(sum === null ? [] : [`$${(sum / 1e9).toPrecision(3)} in total`]),
    ...(failed > 0 ? [`${failed} failed (not counted)`] : []),
    ...(stopped === 'done' ? [] : ['not finished: run the same command again to continue']),
  ].join('; ')
  writeFileSync(join(out, 'table.md'), `${markdown(table)}\n\n${notes}\n`)
  writeFileSync(join(out, 'plot.svg'), plot(rows, `${place.model}: accuracy by effort`))
  console.log(`\n${plain(table)}\n\n${notes}\n${join(out, 'table.md')}, plot.svg, journal.jsonl`)
}

process.exitCode = await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : String(error))
  return 1
})
