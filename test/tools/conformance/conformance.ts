/**
 * The conformance suite: the doctor's checks, over every backend that there is. Where an engine ran, over its recorded
 * bytes; where none can run here, over a script of its documented formats; and the embedded one as it is.
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
  /** `live`, with its date; or where else the bytes are from. */
  source: string
  verdicts: Map<Trait, CheckVerdict>
}

export const documented = { sglang, 'lm-studio': lmStudio, mistral, fake }

export function httpBackend(name: string): HttpBackend {
  const backend = findBackend(name)
  if (backend?.transport !== 'http') throw new Error(`${name} is no backend that is called`)
  return backend
}

/** @param options.model overrides the name that the endpoint tells */
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
  if (!found) throw new Error(`what answers is not ${backend.title}`)
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
  // What is written cannot be left: whether an engine stops can only be seen in one that runs.
  verdicts.set('cancel', { verdict: 'untested', note: 'nothing runs' })
  return { backend: name, title: backend.title, version, source: `records ${how}`, verdicts }
}

/** The real one, with the model that comes with it. */
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
    return { backend: embedded.name, title: embedded.title, version, source: `live, ${date}: with the toy`, verdicts }
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
