/** The phases of a worker, and its report as the fleet and the operator see it. */
import { mkdtempSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Heartbeat } from '../../backends/wire/heartbeat.ts'
import { sealKey, unseal } from '../../backends/wire/seal.ts'
import { parseWorkerKey } from '../../backends/wire/worker-key.ts'
import { readConfig } from '../../gpu-worker/config.ts'
import type { EngineState } from '../../gpu-worker/engine/engine.ts'
import { createWorker } from '../../gpu-worker/worker.ts'
import { engineReport, fleetState, healthView, metricsView, type WorkerPhase } from '../../gpu-worker/worker-report.ts'
import { freePort } from '../support/product.ts'
import { ScriptedEngine } from '../support/scripted-engine.ts'

const workerKey = `tw_w1_1_${'A'.repeat(43)}`

describe('the report of a worker', () => {
  it('[WRK34] the phase of the worker precedes the state of its engine, and the fleet sees ready only with a usable outbox', () => {
    type Row = [phase: WorkerPhase, engine: EngineState, storable: boolean, fleet: string, health: string, up: boolean]
    const rows: Row[] = [
      ['serving', 'ready', true, 'ready', 'ready', true],
      ['serving', 'ready', false, 'down', 'ready', true],
      ['serving', 'restarting', true, 'down', 'restarting', false],
      ['serving', 'failed', true, 'down', 'failed', false],
      ['renewing', 'ready', true, 'draining', 'draining', true],
      ['stopping', 'restarting', true, 'draining', 'draining', false],
      ['gone', 'closed', true, 'gone', 'gone', false],
    ]
    const receipts = { running: 1, owed: 2, refused: 3 }
    const seen = rows.map(([phase, state, storable]): Row => {
      const engine = new ScriptedEngine()
      engine.state = state
      const report = { phase, engine: engineReport(engine), slotsMax: 4, running: ['req_1'] }
      const health = healthView(report, receipts)
      const metrics = metricsView(report, receipts)
      expect(health).toMatchObject({ engine: 'scripted', receipts, load: metrics.load })
      expect(metrics).toMatchObject({ slotsMax: 4, slotsHeld: 1, receiptsOwed: 2, receiptsRefused: 3 })
      return [phase, state, storable, fleetState(report, () => storable), health.status, metrics.up]
    })
    expect(seen).toEqual(rows)
  })
})

class RenewableEngine extends ScriptedEngine {
  renewals = 0
  closed = false

  renew(): void {
    this.renewals += 1
  }

  override close(): Promise<void> {
    this.closed = true
    return super.close()
  }
}

describe('the phases of a worker', () => {
  let edge: Server
  let states: string[]
  let reasons: (string | null | undefined)[]

  beforeEach(async () => {
    states = []
    reasons = []
    const key = await sealKey(parseWorkerKey(workerKey)?.secret ?? new Uint8Array())
    edge = createServer(async (request, response) => {
      let body = ''
      for await (const part of request) body += part
      const beat = await unseal('heartbeat', JSON.parse(body).heartbeat, key, Heartbeat)
      reasons.push(beat?.kind === 'read' ? beat.claims.reason : null)
      states.push(beat?.kind === 'read' ? beat.claims.state : 'not a heartbeat')
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"edgeNow":1,"state":"ready"}')
    })
    await new Promise<void>((resolve) => edge.listen(0, '127.0.0.1', resolve))
  })

  afterEach(() => {
    edge.closeAllConnections()
    edge.close()
  })

  async function newWorker(engine: ScriptedEngine, port = 0) {
    const config = readConfig({
      TRAMONTANE_WORKER_KEY: workerKey,
      TRAMONTANE_EDGE_URL: `http://127.0.0.1:${(edge.address() as AddressInfo).port}`,
      TRAMONTANE_HOME: mkdtempSync(join(tmpdir(), 'tramontane-report-')),
      TRAMONTANE_MODEL_ID: 'tramontane-tiny',
      ...(port > 0 && { TRAMONTANE_METRICS_PORT: String(port) }),
    })
    const parts = { engine, now: () => Date.now(), callId: () => 'call00001', log: () => undefined }
    return createWorker(config, parts)
  }

  async function startedWorker(engine: RenewableEngine) {
    const worker = await newWorker(engine)
    const url = await worker.start()
    return { worker, health: async () => (await fetch(`${url}/healthz`)).json() }
  }

  it('[WRK35] a worker that renewed its engine serves again, and one that stops while it renews leaves the engine ended', async () => {
    const engine = new RenewableEngine()
    const { worker, health } = await startedWorker(engine)
    const renewed = worker.renew()
    expect(await health()).toEqual({ status: 'draining' })
    await renewed
    expect(await health()).toEqual({ status: 'ready' })
    expect(engine.renewals).toBe(1)
    const renewing = worker.renew()
    await Promise.all([renewing, worker.stop()])
    expect([engine.renewals, engine.closed]).toEqual([1, true])
    expect(states[0]).toBe('ready')
    expect(states).toContain('draining')
    expect(states.at(-1)).toBe('gone')
  })

  it('[WRK36] a worker whose engine is not ready reports down with the reason, and ready as soon as the engine is', async () => {
    const loaded = Promise.withResolvers<void>()
    class UnreadyEngine extends ScriptedEngine {
      override state: EngineState = 'starting'
      get reason() {
        return 'the engine is not ready: it answers an everyday chat with 400'
      }
      override start() {
        return loaded.promise
      }
    }
    const engine = new UnreadyEngine()
    const port = await freePort()
    const worker = await newWorker(engine, port)
    const started = worker.start()
    await expect.poll(() => states).toContain('down')
    expect(reasons[0]).toBe(engine.reason)
    const health = await fetch(`http://127.0.0.1:${port}/healthz`)
    expect([health.status, await health.json()]).toMatchObject([503, { status: 'starting', reason: engine.reason }])
    expect(states).not.toContain('ready')
    engine.state = 'ready'
    loaded.resolve()
    await started
    expect([states.at(-1), reasons.at(-1)]).toEqual(['ready', undefined])
    await worker.stop()
  })
})
