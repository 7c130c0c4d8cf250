/**
 * `npm run conformance` examines every backend, the embedded engine live and the others from their records, and
 * compares the result with the matrix in backends/README.md (`--write` updates it). `npm run conformance -- --live URL
 * [--backend NAME] [--model NAME]` examines a running engine, with the key in TRAMONTANE_ENGINE_KEY. `--record --how
 * TEXT` saves its bytes.
 */
import { randomUUID } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { rootOf } from '../../../backends/contract/root.ts'
import { recognise } from '../../../backends/engines/recognise.ts'
import { backends, httpBackends } from '../../../backends/engines/registry.ts'
import { verdictLine } from '../../../gpu-worker/doctor/report.ts'
import { askProbe, type Transport } from '../../../gpu-worker/doctor/subject.ts'
import { Calls } from '../../../gpu-worker/engine/calls.ts'
import { examineAll, examineHttp, httpBackend } from './conformance.ts'
import { matrix, publish, published, truthTable, undated } from './matrix.ts'
import { type Recorded, recording, writeRecord } from './record.ts'

const page = fileURLToPath(new URL('../../../backends/README.md', import.meta.url))
const shown = backends.filter(({ name }) => name !== 'fake')
const pause = () => sleep(50)
const today = () => new Date().toISOString().slice(0, 10)

const text = { type: 'string' } as const
const flag = { type: 'boolean', default: false } as const
const { values } = parseArgs({
  options: { live: text, backend: text, model: text, how: text, record: flag, write: flag },
})

async function live(url: string): Promise<void> {
  const calls = new Calls(rootOf(url), process.env.TRAMONTANE_ENGINE_KEY || null)
  const open: Transport = (call, signal) => calls.open(call, signal)
  try {
    const among = values.backend ? [httpBackend(values.backend)] : httpBackends
    const found = await askProbe(recognise(among), open, AbortSignal.timeout(10_000))
    if (!found) throw new Error(`no known backend answers at ${url}`)
    const { backend } = found
    const exchanges: Recorded['exchanges'] = []
    const nonce = randomUUID()
    const model = values.model ?? ''
    const seen = await examineHttp(backend, recording(open, exchanges), {
      ...{ nonce, model, pause },
      done: (trait, verdict) => console.log(verdictLine(trait, verdict)),
    })
    if (!values.record) return
    writeRecord({
      ...{ backend: backend.name, source: 'live', nonce, model, exchanges },
      version: seen.version,
      date: today(),
      how: values.how ?? 'no description',
      verdicts: Object.fromEntries(seen.verdicts),
    })
  } finally {
    await calls.close()
  }
}

async function all(): Promise<void> {
  const parts = { matrix: matrix(await examineAll(pause, today())), truth: truthTable(shown) }
  console.log(parts.matrix)
  let text = readFileSync(page, 'utf8')
  for (const what of ['matrix', 'truth'] as const) {
    if (undated(published(text, what) ?? '') === undated(parts[what])) continue
    text = publish(text, what, parts[what])
    if (!values.write) process.exitCode = 1
  }
  if (values.write) writeFileSync(page, text)
  else if (process.exitCode) console.error('\nbackends/README.md is out of date. Run: npm run conformance -- --write')
}

await (values.live === undefined ? all() : live(values.live))
