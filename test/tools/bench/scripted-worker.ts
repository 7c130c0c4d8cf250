/**
 * A worker whose engine costs nothing: it answers every prompt with the same words. Up to twelve words are sent at
 * once; longer answers are sent one by one, at the published pace of Small 4 alone on its GPUs. The rest is the real
 * worker's: it accepts only signed dispatches, keeps an outbox, posts signed receipts and heartbeats. A bench in front
 * of it measures the edge.
 */

import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { embedded } from '../../../backends/engines/embedded.ts'
import type { Heartbeat } from '../../../backends/wire/heartbeat.ts'
import { sealKey } from '../../../backends/wire/seal.ts'
import { keyIdOf, parseWorkerKey } from '../../../backends/wire/worker-key.ts'
import { Delivery } from '../../../gpu-worker/delivery.ts'
import { type Engine, type EngineEvent, servedBy } from '../../../gpu-worker/engine/engine.ts'
import { Heartbeats } from '../../../gpu-worker/heartbeat.ts'
import { beginLife } from '../../../gpu-worker/life.ts'
import { createResolver } from '../../../gpu-worker/media/resolver.ts'
import { Metrics } from '../../../gpu-worker/metrics.ts'
import { Outbox } from '../../../gpu-worker/outbox.ts'
import { createWorkerServer } from '../../../gpu-worker/server.ts'
import { Slots } from '../../../gpu-worker/slots.ts'

/** Dispatches of this tenant come from the load generator; no ledger expects their receipts. */
export const directTenant = 'direct'

const words = ['One', ' answer', ' for', ' all', ' that', ' is', ' asked', ',', ' in', ' twelve', ' pieces', '.']
/** 159 tokens a second: the hosted model at `none`. */
const tokenMs = 1_000 / 159
const promptTokens = 600
const slotsMax = 512
const load = {
  running: 0,
  kvTokens: 0,
  kvTokensMax: 0,
  promptTokensTotal: 0,
  cachedTokensTotal: 0,
  outputTokensTotal: 0,
  restartsTotal: 0,
}

const scripted: Engine = {
  description: {
    engine: 'scripted',
    version: '1',
    modelName: 'scripted',
    architecture: 'none',
    contextTokens: 4_096,
    slotsMax,
    vision: false,
    images: embedded.capabilities.images,
    capabilities: servedBy(embedded.capabilities),
  },
  state: 'ready',
  start: async () => undefined,
  prepare: async (chat, effort) => ({ ok: true, promptTokens, outputTokensFit: 3_000, chat, effort, prompt: null }),
  run: (_prepared, { outputTokensMax }) => {
    const counts = { promptTokens, cachedTokens: 0, outputTokens: 0, reasoningTokens: 0 }
    async function* events(): AsyncGenerator<EngineEvent> {
      yield { kind: 'started' }
      const beganAt = performance.now()
      for (let index = 0; index < outputTokensMax; index++) {
        const early = beganAt + index * tokenMs - performance.now()
        if (outputTokensMax > words.length && early > 0) await delay(early)
        counts.outputTokens += 1
        load.outputTokensTotal += 1
        yield { kind: 'text', channel: 'content', text: words[index % words.length] ?? '' }
      }
      yield { kind: 'end', finishReason: 'stop' }
    }
    return { counts, events: events() }
  },
  load: () => load,
  close: async () => undefined,
}

async function main(edgeUrl: URL, home: string, workerKey: string): Promise<void> {
  const enrolled = parseWorkerKey(workerKey)
  if (!enrolled) throw new Error('not a worker key')
  const { workerId } = enrolled
  const key = await sealKey(enrolled.secret)
  const kid = keyIdOf(enrolled)
  const now = () => Date.now()
  const log = (line: string) => process.stderr.write(`scripted worker: ${line}\n`)
  const folder = join(home, 'workers', workerId)
  const outbox = new Outbox(folder)
  const life = beginLife(folder, now, log)
  const slots = new Slots(slotsMax)
  const delivery = new Delivery({ edgeUrl, kid, key, outbox, log, now })
  const server = createWorkerServer({
    ...{ workerId, key, engine: scripted, outbox, slots, now, log },
    metrics: new Metrics(),
    media: createResolver(now),
    callId: () => '123456789',
    draining: () => false,
    deliver: () => delivery.wake(),
    changed: () => undefined,
    owed: async ({ tenantId, dispatchId }, settleFirst) => {
      if (tenantId === directTenant) outbox.acknowledged([dispatchId])
      else await delivery.owed(dispatchId, settleFirst || slots.holders().length * 2 > slots.max)
    },
    metricsKey: process.env.TRAMONTANE_METRICS_KEY,
    health: () => ({ status: 'ready', receipts: outbox.counts() }),
    render: () => '',
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const state = (): Omit<Heartbeat, 'protocol'> => ({
    ...{ workerId, pool: 'latency', url, model: 'tramontane-tiny', engine: 'scripted 1', state: 'ready' },
    ...{ slotsMax, contextTokens: 4_096, vision: false, running: slots.holders(), kvTokens: 0, kvTokensMax: 0 },
    // The fleet treats a worker that runs requests but reports no output as stalled.
    ...{ promptTokensTotal: 0, cachedTokensTotal: 0, outputTokensTotal: load.outputTokensTotal },
    ...life.signs(),
  })
  await new Heartbeats({ edgeUrl, kid, key, state, log }).start()
  process.send?.({ kind: 'ready', url })
}

if (import.meta.main) {
  process.on('disconnect', () => process.exit(0))
  const [edgeUrl = '', home = '', workerKey = ''] = process.argv.slice(2)
  await main(new URL(edgeUrl), home, workerKey)
}
