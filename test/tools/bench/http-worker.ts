/**
 * A worker attached to an external engine, without an edge: a bench measures the time that the worker adds to the
 * engine. Everything else is the real worker's, including outbox and receipts; receipts count as delivered. On a
 * message it reports its memory after a garbage collection.
 */
import type { AddressInfo } from 'node:net'
import { findBackend } from '../../../backends/engines/registry.ts'
import { sealKey } from '../../../backends/wire/seal.ts'
import { parseWorkerKey } from '../../../backends/wire/worker-key.ts'
import { createHttpEngine } from '../../../gpu-worker/engine/http.ts'
import { attach } from '../../../gpu-worker/engine/launch.ts'
import { attachedRules } from '../../../gpu-worker/engine/lifecycle.ts'
import { supervisorTimes } from '../../../gpu-worker/engine/supervisor.ts'
import { createResolver } from '../../../gpu-worker/media/resolver.ts'
import { Metrics } from '../../../gpu-worker/metrics.ts'
import { Outbox } from '../../../gpu-worker/outbox.ts'
import { createWorkerServer } from '../../../gpu-worker/server.ts'
import { Slots } from '../../../gpu-worker/slots.ts'

export interface WorkerMemory {
  rssMiB: number
  heapMiB: number
  slotsHeld: number
  receipts: number
}

const slotsMax = 512
const contextTokens = 4_096

async function main(engineUrl: string, home: string, workerKey: string): Promise<void> {
  const enrolled = parseWorkerKey(workerKey)
  const backend = findBackend('llama-cpp')
  if (!enrolled || backend?.transport !== 'http') throw new Error('not a worker key')
  const log = (line: string) => process.stderr.write(`${line}\n`)
  const engine = createHttpEngine({
    ...{ backend, url: engineUrl, apiKey: null, start: attach, rules: attachedRules(backend.name, engineUrl) },
    // A bench saturates the machine: a late health check does not mean that the engine is lost.
    supervisorTimes: { ...supervisorTimes, missesMax: 10 },
    ...{ slotsMax, contextTokens, saltOf: (owner) => owner, log },
  })
  await engine.start()
  const outbox = new Outbox(home)
  const slots = new Slots(slotsMax)
  const now = () => Date.now()
  let receipts = 0
  const server = createWorkerServer({
    ...{ workerId: enrolled.workerId, key: await sealKey(enrolled.secret), engine, outbox, slots, now, log },
    metrics: new Metrics(),
    media: createResolver(now),
    callId: () => '123456789',
    draining: () => false,
    deliver: () => undefined,
    changed: () => undefined,
    owed: async ({ dispatchId }) => {
      receipts += 1
      outbox.acknowledged([dispatchId])
    },
    health: () => ({ status: 'ready' }),
    render: () => '',
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  process.on('message', () => {
    globalThis.gc?.()
    const { rss, heapUsed } = process.memoryUsage()
    const mebi = 2 ** 20
    const memory = { rssMiB: rss / mebi, heapMiB: heapUsed / mebi, slotsHeld: slots.holders().length, receipts }
    process.send?.(memory satisfies WorkerMemory)
  })
  process.send?.({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
}

process.on('disconnect', () => process.exit(0))
const [engineUrl = '', home = '', workerKey = ''] = process.argv.slice(2)
await main(engineUrl, home, workerKey)
