/** The worker's report of itself. The heartbeat, `/healthz` and `/metrics` are views of it. */
import { budgets } from '../backends/model/budgets.ts'
import { cleanText } from '../backends/model/clean-text.ts'
import type { Heartbeat } from '../backends/wire/heartbeat.ts'
import { protocolVersion } from '../backends/wire/protocol.ts'
import type { Engine, EngineDescription, EngineLoad, EngineState } from './engine/engine.ts'

/**
 *   serving ──renew──▶ renewing ──engine restarted──▶ serving
 *      │                  │
 *      ╰───────stop───────┴──▶ stopping ──receipts delivered──▶ gone
 *
 * `renewing` and `stopping` refuse new requests and finish the open ones.
 */
export type WorkerPhase = 'serving' | 'renewing' | 'stopping' | 'gone'

export interface OwnReport {
  phase: WorkerPhase
  engine: { state: EngineState; reason: string | undefined; description: EngineDescription; load: EngineLoad }
  slotsMax: number
  /** Ids of the requests that hold a slot. */
  running: string[]
  /** Why the edge and this worker do not understand each other, if so. */
  mismatch?: string | undefined
}

/** Receipts in the outbox. */
interface OutboxCounts {
  running: number
  owed: number
  refused: number
}

export function engineReport(engine: Engine): OwnReport['engine'] {
  return { state: engine.state, reason: engine.reason, description: engine.description, load: engine.load() }
}

export const engineName = ({ engine, version }: EngineDescription) => `${engine} ${version}`

/** The phase as operators and the fleet see it; undefined while the engine's state decides. */
export function leaving(phase: WorkerPhase): 'draining' | 'gone' | undefined {
  if (phase === 'serving') return undefined
  return phase === 'gone' ? 'gone' : 'draining'
}

/** @param storable whether the outbox accepts new requests; asked only if all else is ready */
export function fleetState({ phase, engine, mismatch }: OwnReport, storable: () => boolean): Heartbeat['state'] {
  return leaving(phase) ?? (engine.state === 'ready' && mismatch === undefined && storable() ? 'ready' : 'down')
}

function reasonOf({ state, reason }: OwnReport['engine']): string | undefined {
  if (state === 'ready' || reason === undefined) return undefined
  return cleanText(reason, budgets.workerReasonCharacters.value)
}

/** The fields of a heartbeat that this report contains. */
export function heartbeatView({ engine, slotsMax, running }: OwnReport) {
  const { description, load } = engine
  const reason = reasonOf(engine)
  return {
    engine: engineName(description),
    ...(reason !== undefined && { reason }),
    slotsMax,
    contextTokens: description.contextTokens,
    vision: description.vision,
    capabilities: description.capabilities,
    running,
    kvTokens: load.kvTokens,
    kvTokensMax: load.kvTokensMax,
    promptTokensTotal: load.promptTokensTotal,
    cachedTokensTotal: load.cachedTokensTotal,
    outputTokensTotal: load.outputTokensTotal,
  }
}

export function healthView({ phase, engine, mismatch }: OwnReport, receipts: OutboxCounts) {
  const reason = mismatch ?? (engine.state === 'ready' ? undefined : engine.reason)
  return {
    status: leaving(phase) ?? (mismatch === undefined ? engine.state : 'incompatible'),
    ...(reason !== undefined && { reason }),
    protocol: protocolVersion,
    ...engine.description,
    load: engine.load,
    receipts,
  }
}

export function metricsView({ engine, slotsMax, running }: OwnReport, { owed, refused }: OutboxCounts) {
  return {
    load: engine.load,
    slotsMax,
    slotsHeld: running.length,
    receiptsOwed: owed,
    receiptsRefused: refused,
    up: engine.state === 'ready',
  }
}
