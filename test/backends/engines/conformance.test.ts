/** The conformance suite on recorded bytes, documented formats and the real embedded engine. */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import type { BackendEvent, ResponseReader } from '../../../backends/contract/backend.ts'
import { rootOf } from '../../../backends/contract/root.ts'
import { recognise } from '../../../backends/engines/recognise.ts'
import { backends, httpBackends } from '../../../backends/engines/registry.ts'
import { verdictLine } from '../../../gpu-worker/doctor/report.ts'
import { askProbe, type Transport } from '../../../gpu-worker/doctor/subject.ts'
import { Calls } from '../../../gpu-worker/engine/calls.ts'
import {
  documented,
  documentedTransport,
  examineAll,
  examineHttp,
  examineRecord,
  httpBackend,
} from '../../tools/conformance/conformance.ts'
import { matrix, published, truthTable, undated } from '../../tools/conformance/matrix.ts'
import { type Recorded, readRecords, replay } from '../../tools/conformance/record.ts'

const records = readRecords()
const recorded = records.map((record) => [record.backend, record] as const)
const url = process.env.CONFORMANCE_URL
const page = readFileSync(fileURLToPath(new URL('../../../backends/README.md', import.meta.url)), 'utf8')

describe('recorded engines', () => {
  it.each(recorded)(
    '[CNF1] a recorded engine gets the recorded requests and yields the recorded verdicts (%s)',
    async (_, record) => {
      const { verdicts } = await examineRecord(record)
      expect(Object.fromEntries(verdicts)).toEqual(record.verdicts)
    },
  )

  it.each(recorded)(
    '[CNF2] a recorded engine yields the same events wherever its bytes are split (%s)',
    (_, record) => {
      const streams = whole(record)
      expect(streams.length).toBeGreaterThan(5)
      for (const text of streams) {
        const bytes = new TextEncoder().encode(text)
        const events = merged(read(record, [bytes]))
        expect(events.at(-1)?.kind).toBe('end')
        for (const at of cuts(bytes.length))
          expect(merged(read(record, [bytes.subarray(0, at), bytes.subarray(at)]))).toEqual(events)
        expect(
          merged(
            read(
              record,
              Array.from(bytes, (byte) => Uint8Array.of(byte)),
            ),
          ),
        ).toEqual(events)
      }
    },
  )
})

describe('an endpoint', () => {
  it('[CNF3] each endpoint is recognised as its own engine and as no other', async () => {
    const places = [
      ...records.map(({ backend, exchanges }) => [backend, replay(exchanges)] as const),
      ...Object.entries(documented).map(
        ([name, { documented: script }]) => [name, documentedTransport(script())] as const,
      ),
    ]
    for (const [name, open] of places) {
      // An unrecorded call returns 404.
      const there: Transport = (call, signal) => open(call, signal).catch(() => ({ ...missing, body: nothing() }))
      const signal = new AbortController().signal
      const known = []
      for (const backend of httpBackends) if (await askProbe(backend.attach, there, signal)) known.push(backend.name)
      // The generic adapter accepts every endpoint that lists models.
      expect(known.filter((each) => each !== 'openai-compatible')).toEqual(name === 'openai-compatible' ? [] : [name])
      const found = await askProbe(recognise(), there, signal)
      expect(found?.backend.name).toBe(name)
    }
  })
})

describe('the published tables', () => {
  it('[CNF4] the matrix is the suite’s output, including the embedded engine', { timeout: 60_000 }, async () => {
    const columns = await examineAll(() => sleep(20), '2026-01-01')
    expect(columns.map(({ backend }) => backend)).toEqual(backends.map(({ name }) => name))
    expect(undated(published(page, 'matrix') ?? '')).toBe(undated(matrix(columns)))
    expect(published(page, 'truth')).toBe(truthTable(backends.filter(({ name }) => name !== 'fake')))
  })
})

describe('a live endpoint', () => {
  it('[CNF5] at CONFORMANCE_URL has every feature that it claims', { skip: !url, timeout: 600_000 }, async () => {
    const calls = new Calls(rootOf(url ?? ''), process.env.TRAMONTANE_ENGINE_KEY || null)
    const open: Transport = (call, signal) => calls.open(call, signal)
    const found = await askProbe(recognise(), open, AbortSignal.timeout(10_000))
    if (!found) throw new Error(`no known backend answers at ${url}`)
    const options = { nonce: String(Date.now()), model: process.env.CONFORMANCE_MODEL ?? '', pause: () => sleep(50) }
    const { verdicts } = await examineHttp(found.backend, open, options)
    await calls.close()
    expect([...verdicts].filter(([, { verdict }]) => verdict === 'no').map(([t, v]) => verdictLine(t, v))).toEqual([])
  })
})

const missing = { status: 404, streams: false, headers: {} }
async function* nothing(): AsyncIterable<Uint8Array> {}

/** The first twelve complete streams, which include reasoning, calls and all finish reasons. */
function whole({ exchanges }: Recorded): string[] {
  return exchanges
    .filter(({ headers }) => headers['content-type']?.startsWith('text/event-stream'))
    .map(({ parts }) => parts.join(''))
    .filter((text) => /"finish_reason":\s?"/.test(text))
    .slice(0, 12)
}

function read({ backend }: Recorded, parts: Uint8Array[]): BackendEvent[] {
  const terms = { requestId: 'r', effort: 'high', outputTokensMax: 1, priority: 0, cacheSalt: '' } as const
  const reader: ResponseReader = httpBackend(backend).reader(terms, true)
  return [...parts.flatMap((part) => reader.push(part)), ...reader.end()]
}

/** Merges adjacent texts: a possible mark holds text back, so pieces may differ, but never the text. */
function merged(events: BackendEvent[]): BackendEvent[] {
  const merged: BackendEvent[] = []
  for (const event of events) {
    const last = merged.findLast(({ kind }) => kind !== 'usage')
    if (event.kind === 'text' && last?.kind === 'text' && last.channel === event.channel) last.text += event.text
    else merged.push({ ...event })
  }
  return merged
}

/** Every position in the first and the last events, and a few between. */
function cuts(length: number): number[] {
  const all = Array.from({ length: length + 1 }, (_, at) => at)
  return length < 400 ? all : all.filter((at) => at < 120 || at > length - 120 || at % 1_999 === 0)
}
