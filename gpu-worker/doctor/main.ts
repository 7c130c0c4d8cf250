/**
 * `npm run doctor -- URL`: identifies the engine at an endpoint, checks it against the contract, and prints how to fix
 * what fails. Exits with 0 if a worker can use the engine, with 1 if not, or if the checks could not run. At the address
 * of a worker's operator port it prints the worker's state, and exits with 0 if the worker is ready.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { rootOf } from '../../backends/contract/root.ts'
import { recognise } from '../../backends/engines/recognise.ts'
import { findBackend, httpBackends } from '../../backends/engines/registry.ts'
import { Calls } from '../engine/calls.ts'
import { tryChat } from '../engine/try-chat.ts'
import { examine } from './checks.ts'
import { headLines, remedyLines, soundness, soundnessLine, verdictLine } from './report.ts'
import { askProbe, httpSubject, type Transport } from './subject.ts'
import { workerAt } from './worker-health.ts'

const usage = 'usage: [TRAMONTANE_ENGINE_KEY=KEY] npm run doctor -- URL [--backend NAME] [--model NAME]'
const recogniseMs = 10_000
const answerMs = 120_000
const pauseMs = 50

const print = (line: string) => process.stdout.write(`${line}\n`)

class Unclear extends Error {}

async function doctor(): Promise<boolean> {
  const { url, backend: name, model, key } = readArguments()
  const calls = new Calls(rootOf(url), key)
  const open: Transport = (call, signal) => calls.open(call, signal)
  const within = () => AbortSignal.timeout(answerMs)
  try {
    const statuses: number[] = []
    const seen: Transport = async (call, signal) => {
      const answer = await open(call, signal)
      statuses.push(answer.status)
      return answer
    }
    const found = await askProbe(recognise(among(name)), seen, AbortSignal.timeout(recogniseMs))
    if (statuses.length === 0)
      throw new Unclear(`no answer from ${url}. Start the engine there, or correct the address`)
    const worker = found ? undefined : await workerAt(open, AbortSignal.timeout(recogniseMs))
    if (worker) {
      print(`${url} is ${worker.line}`)
      return worker.ready
    }
    if (!found && statuses.some((status) => status === 401 || status === 403))
      throw new Unclear(
        key === null
          ? `${url} requires a key. Set TRAMONTANE_ENGINE_KEY`
          : `${url} refuses the key. Correct TRAMONTANE_ENGINE_KEY`,
      )
    if (!found) throw new Unclear(`${url} is not ${name ?? 'a known engine'}. Correct the address, or set --backend`)
    const { backend } = found
    const attached = { ...found.attached, model: model ?? found.attached.model }
    for (const line of headLines(backend, attached)) print(line)
    const tried = await tryChat(backend, attached, (call, signal) => calls.open(call, signal), within())
    if (tried.kind !== 'answered') print(`BROKEN: ${tried.reason}`)
    print('')
    const subject = httpSubject(backend, attached, open, within)
    const verdicts = await examine(
      subject,
      randomUUID(),
      () => sleep(pauseMs),
      (trait, verdict) => print(verdictLine(trait, verdict)),
    )
    const remedies = remedyLines(backend, verdicts)
    if (remedies.length > 0) for (const line of ['', 'What to do:', ...remedies]) print(line)
    const how = tried.kind === 'answered' ? soundness(attached, verdicts) : 'unsound'
    print(`\n${soundnessLine[how]}`)
    return how !== 'unsound'
  } finally {
    await calls.close()
  }
}

function among(name: string | undefined) {
  if (name === undefined) return httpBackends
  const backend = findBackend(name)
  if (backend?.transport === 'http') return [backend]
  throw new Unclear(`--backend: unknown engine ${name}. Use one of ${httpBackends.map((each) => each.name).join(', ')}`)
}

function readArguments(): { url: string; backend: string | undefined; model: string | undefined; key: string | null } {
  const text = { type: 'string' } as const
  const options = { backend: text, model: text }
  const { values, positionals } = parse(options)
  const [url, ...extra] = positionals
  if (url === undefined || extra.length > 0) throw new Unclear(usage)
  if (!/^https?:\/\/./.test(url) || !URL.canParse(url))
    throw new Unclear(`${url} is not the URL of an engine. Use the form http://HOST:PORT`)
  return { url, backend: values.backend, model: values.model, key: process.env.TRAMONTANE_ENGINE_KEY || null }
}

function parse<const Options extends Record<string, { type: 'string' }>>(options: Options) {
  try {
    return parseArgs({ options, allowPositionals: true })
  } catch (cause) {
    throw new Unclear(`${(cause as Error).message}\n${usage}`, { cause })
  }
}

try {
  process.exitCode = (await doctor()) ? 0 : 1
} catch (error) {
  process.stderr.write(`doctor: ${error instanceof Unclear ? error.message : (error as Error).stack}\n`)
  process.exitCode = 1
}
