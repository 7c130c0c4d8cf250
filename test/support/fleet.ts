/** Minimal messages between the edge, the fleet and its workers. A test overrides the fields that matter to it. */
import type { Dispatch } from '../../backends/wire/dispatch.ts'
import type { Heartbeat } from '../../backends/wire/heartbeat.ts'
import { protocolVersion } from '../../backends/wire/protocol.ts'
import type { Enrolment } from '../../src/fleet/enrolment.ts'
import type { LeaseRequest } from '../../src/fleet/state.ts'

export function testBeat(workerId: string, change: Partial<Heartbeat> = {}): Heartbeat {
  return {
    workerId,
    protocol: protocolVersion,
    pool: 'latency',
    url: `http://127.0.0.1:9/${workerId}`,
    model: 'm',
    engine: 'e 1',
    state: 'ready',
    slotsMax: 4,
    contextTokens: 4_096,
    vision: false,
    running: [],
    kvTokens: 0,
    kvTokensMax: 0,
    promptTokensTotal: 0,
    cachedTokensTotal: 0,
    outputTokensTotal: 0,
    sentAt: 0,
    ...{ instance: `${workerId}.1`, startedAt: 0, replaces: null, lastEnd: null },
    ...change,
  }
}

/** An enrolment that allows `testBeat`. */
export function testEnrolment(workerId: string, change: Partial<Enrolment> = {}): Enrolment {
  return {
    workerId,
    revision: 1,
    url: `http://127.0.0.1:*/${workerId}`,
    pools: ['latency', 'throughput'],
    models: ['m'],
    slotsMax: 256,
    pinned: false,
    ...change,
  }
}

export function testAsk(requestId: string, change: Partial<LeaseRequest> = {}): LeaseRequest {
  return {
    requestId,
    tenantId: 't',
    model: 'm',
    effort: 'none',
    promptTokens: 100,
    outputTokensMax: 4_096,
    prefix: [],
    effortUnderLoad: null,
    exclude: [],
    weight: 100,
    priorityClass: 'interactive',
    costTokens: 100,
    again: false,
    ...change,
  }
}

export function testDispatch(requestId: string, change: Partial<Dispatch> = {}): Dispatch {
  return {
    dispatchId: `${requestId}.1`,
    requestId,
    workerId: 'w1',
    tenantId: 't',
    keyId: 'k',
    model: 'm',
    pool: 'latency',
    effort: 'none',
    priority: 5,
    bodyDigest: 'x'.repeat(43),
    proof: 'p'.repeat(43),
    costNanoMax: 1_000,
    promptTokensMax: 10,
    outputTokensMax: 10,
    rates: { inputNano: 1, cachedNano: 1, outputNano: 1 },
    settleFirst: false,
    issuedAt: 1,
    expiresAt: 2,
    ...change,
  }
}
