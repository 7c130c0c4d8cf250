/**
 * The conformance suite runs the doctor's checks on every backend: on the recorded bytes of an engine that ran, on a
 * script of the documented formats of an engine that cannot run here, and on the real embedded engine.
 */
import type { HttpBackend, Trait } from '../../../backends/contract/backend.ts'
import { embedded } from '../../../backends/engines/embedded.ts'
import { backends, findBackend } from '../../../backends/engines/registry.ts'
import { tinyModelPath } from '../../../gpu-worker/config.ts'
import { type CheckVerdict, examine } from '../../../gpu-worker/doctor/checks.ts'
import { askProbe, httpSubject, type Transport } from '../../../gpu-worker/doctor/subject.ts'
import { createEmbeddedEngine } from '../../../gpu-worker/engine/embedded.ts'
import * as lmStudio from './documented/lm-studio.ts'
import * as mistral from './documented/mistral.ts'
import type { DocumentedAnswer } from './documented/model.ts'
import * as sglang from './documented/sglang.ts'
import { engineSubject } from './engine-subject.ts'
import * as fake from './fake-transport.ts'
import { answerOf, type Recorded, readRecords, replay } from './record.ts'

export interface Column {
  backend: string
  title: string
  version: string
  /** `live` with its date, or another source of the bytes. */
  source: string
  verdicts: Map<Trait, CheckVerdict>
}

export const documented = { sglang, 'lm-studio': lmStudio, mistral, fake }

export function httpBackend(name: string): HttpBackend {
  const backend = findBackend(name)
  if (backend?.transport !== 'http') throw new Error(`${name} is not a backend with an HTTP API`)
  return backend
}

/** @param options.model overrides the model name that the endpoint reports */
export async function examineHttp(
  backend: HttpBackend,
  open: Transport,
  options: {
    nonce: string
    model: string
    pause: () => Promise<void>
    done?: (trait: Trait, verdict: CheckVerdict) => void
  },
): Promise<{ version: string; verdicts: Map<Trait, CheckVerdict> }> {
  const within = () => AbortSignal.timeout(120_000)
  const found = await askProbe(backend.attach, open, within())
  if (!found) throw new Error(`the endpoint is not ${backend.title}`)
  const attached = options.model === '' ? found : { ...found, model: options.model }
  const subject = httpSubject(backend, attached, open, within)
  const verdicts = await examine(subject, options.nonce, options.pause, options.done ?? (() => undefined))
  return { version: found.version, verdicts }
}

const atOnce = () => Promise.resolve()

export async function examineRecord(record: Recorded): Promise<Column> {
  const backend = httpBackend(record.backend)
  const { nonce, model, version, date, how } = record
  const { verdicts } = await examineHttp(backend, replay(record.exchanges), { nonce, model, pause: atOnce })
  return { backend: backend.name, title: backend.title, version, source: `live, ${date}: ${how}`, verdicts }
}

export function documentedTransport(answer: (call: Parameters<Transport>[0]) => DocumentedAnswer): Transport {
  return async (call) => answerOf(answer(call))
}

async function examineDocumented(name: keyof typeof documented): Promise<Column> {
  const backend = httpBackend(name)
  const { documented: script, how, version } = documented[name]
  const open = documentedTransport(script())
  const { verdicts } = await examineHttp(backend, open, { nonce: 'documented', model: '', pause: atOnce })
  // A script cannot show whether an engine stops.
  verdicts.set('cancel', { verdict: 'untested', note: 'nothing runs' })
  return { backend: name, title: backend.title, version, source: `records ${how}`, verdicts }
}

/** Examines the real embedded engine with the model in the repository. */
async function examineEmbedded(pause: () => Promise<void>, date: string): Promise<Column> {
  const engine = createEmbeddedEngine({
    modelPath: tinyModelPath,
    slotsMax: 4,
    contextTokens: 4_096,
    batchTokens: 512,
    gpu: false,
    log: () => undefined,
  })
  await engine.start()
  try {
    const verdicts = await examine(engineSubject(engine), 'embedded', pause, () => undefined)
    const { version } = engine.description
    return {
      backend: embedded.name,
      title: embedded.title,
      version,
      source: `live, ${date}: with the toy model`,
      verdicts,
    }
  } finally {
    await engine.close()
  }
}

/** Every backend's column, in the registry's order. */
export async function examineAll(pause: () => Promise<void>, date: string): Promise<Column[]> {
  const columns = [await examineEmbedded(pause, date)]
  for (const record of readRecords()) columns.push(await examineRecord(record))
  for (const name of Object.keys(documented) as (keyof typeof documented)[]) columns.push(await examineDocumented(name))
  const order = backends.map(({ name }) => name)
  return columns.sort((a, b) => order.indexOf(a.backend) - order.indexOf(b.backend))
}
