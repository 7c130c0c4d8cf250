/**
 * `npm run eval`: effort × accuracy × output tokens of any model behind an OpenAI-style API. `--help` tells the options.
 *
 * Every finished case is a line in the journal, written before the next is counted; a second run asks only what is not
 * there. Ctrl-C ends what is under way, keeps what is finished and prints the table of it. Ends with 0 when everything
 * was asked, 130 after Ctrl-C, 1 when cases failed or the server will not serve this at all.
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

const countUnlessSaid = 50
/** npm passes a terminal's Ctrl-C on to what the terminal has told already. */
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
  if (cases.length === 0) throw new Error('there is nothing to ask: --task or a file')
  const place = await placeOf(options, home)
  await check(place)
  if (options.files.livecode) console.error(confined(confinement('python')))
  const out = resolve(options.out ?? join(home, 'eval'))
  const outcome = await perform(jobsOf(cases, options), options, place, out, onInterrupt())
  report(outcome, place, out)
  return outcome.stopped === 'interrupted' ? 130 : outcome.failed > 0 || outcome.stopped === 'hopeless' ? 1 : 0
}

/** Said before the first program runs; without an interpreter the run ends here. */
function confined({ network, processes, otherUser }: Confinement): string {
  const held = [
    ...(otherUser ? ['as another user'] : ['as you, so that they can read what you can']),
    network ? 'WITH network' : 'without network',
    processes ? 'apart from other processes' : 'among other processes',
  ].join(', ')
  return `programs run with limits on time, memory, files and output; ${held}`
}

function casesOf(options: EvalOptions): Case[] {
  const { aime: problems, livecode: programs, long: texts } = options.files
  const own = options.tasks.flatMap((task) => builtIn(task, options.count ?? countUnlessSaid, options.seed))
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
    if (options.malformed === 'stop') throw new Error(`${message} (--malformed skip goes on without such lines)`)
    console.error(`left out: ${message}`)
  }
  return items.slice(0, options.count)
}

/** Efforts side by side for each case, so that a run that is stopped can still be compared. */
function jobsOf(cases: readonly Case[], { efforts }: EvalOptions): Job[] {
  return cases.flatMap((one) => efforts.map((effort) => ({ one, effort })))
}

/**
 * Until the table is printed. A second Ctrl-C ends everything; but npm passes the first one on, so that two at once are
 * one.
 */
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
    ...(sum === null ? [] : [`$${(sum / 1e9).toPrecision(3)} in all`]),
    ...(failed > 0 ? [`${failed} failed and are not counted`] : []),
    ...(stopped === 'done' ? [] : ['not finished: the same command goes on from here']),
  ].join('; ')
  writeFileSync(join(out, 'table.md'), `${markdown(table)}\n\n${notes}\n`)
  writeFileSync(join(out, 'plot.svg'), plot(rows, `${place.model}: what effort buys`))
  console.log(`\n${plain(table)}\n\n${notes}\n${join(out, 'table.md')}, plot.svg, journal.jsonl`)
}

process.exitCode = await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : String(error))
  return 1
})
