/**
 * The budget of everything that a client sends and that costs more than linear work. One table: the code that enforces
 * a budget reads it here, `/docs` and SECURITY.md print it, and a test compares them. A value above its budget is
 * refused by the field's path, or ends that request alone.
 */
export interface Budget {
  readonly value: number
  readonly unit: 'bytes' | 'characters' | 'milliseconds' | 'count' | 'percent' | 'nano-dollars'
  /** What the budget bounds, as a noun phrase for the published table. */
  readonly bounds: string
  /** Why it has this value: a measurement, or the limit of another system. */
  readonly reason: string
}

export const budgets = {
  bodyBytes: {
    value: 32 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'request body',
    reason: 'a long conversation with images; one isolate has 128 MiB for the body and all that is made of it',
  },
  requestTokens: {
    value: 16_777_216,
    unit: 'count',
    bounds: 'tokens of one kind (prompt, cached, output, reasoning) in one receipt',
    reason: '64 times the context of Mistral Small 4; 500 million such requests still add up exactly (2^53)',
  },
  priceNano: {
    value: 1_000_000_000,
    unit: 'nano-dollars',
    bounds: 'price of one token',
    reason: 'one dollar a token; a million tokens at this price are still counted exactly (2^53)',
  },
  ratePerMinute: {
    value: 1_000_000_000,
    unit: 'count',
    bounds: 'requests or tokens a minute that a limit may allow',
    reason: 'a bucket counts units times 60,000; this limit and its debt stay below 2^53',
  },
  rateDebt: {
    value: 600_000,
    unit: 'milliseconds',
    bounds: 'time that a token rate needs to pay back what was used beyond it',
    reason: 'a prompt may be longer than its estimate; no receipt may shut a tenant out for longer than ten minutes',
  },
  dispatchesPerRequest: {
    value: 32,
    unit: 'count',
    bounds: 'dispatches of one request, and so its entries in the ledger',
    reason: '2 attempts, 16 workers without vision, 1 raise, 1 hedge and 1 hosted answer are 21',
  },
  earlyVoids: {
    value: 1_000,
    unit: 'count',
    bounds: 'requests of a tenant that were voided before their admission arrived and are remembered',
    reason: 'only lost calls between the edge and a tenant object leave one; each row takes about 60 bytes',
  },
  refusedReceiptsPerWorker: {
    value: 1_000,
    unit: 'count',
    bounds: 'refused receipts of one worker that the edge keeps for the operator',
    reason: 'each is at most 6 kB; the oldest are dropped first, and other workers lose none',
  },
  refusedReceipts: {
    value: 20_000,
    unit: 'count',
    bounds: 'refused receipts of all workers that the edge keeps for the operator',
    reason: 'at most 120 MB of a D1 database of 10 GB',
  },
  outboxRefused: {
    value: 10_000,
    unit: 'count',
    bounds: 'refused receipts that a worker keeps in its outbox',
    reason: 'about 10 MB on disk; a worker whose key was revoked would fill the disk otherwise',
  },
  heartbeatClockMs: {
    value: 60_000,
    unit: 'milliseconds',
    bounds: "difference between a heartbeat's time and the edge's clock",
    reason: 'a replayed heartbeat is worthless after a minute; hosts with NTP differ by less than one second',
  },
  workerSilentMs: {
    value: 15_000,
    unit: 'milliseconds',
    bounds: "silence of a worker's event loop before its watchdog ends the process",
    reason: 'four times the silence after which the fleet drops the worker; no work on the loop takes a second',
  },
  workerProbeMs: {
    value: 3_000,
    unit: 'milliseconds',
    bounds: "the edge's wait for a worker that it probes, and the pause between two probes of one worker",
    reason: 'a reachable worker answers in under 50 ms; a network that drops packets never answers',
  },
  heartbeatRetryMs: {
    value: 5_000,
    unit: 'milliseconds',
    bounds: 'pause between two heartbeats of a worker that the edge refuses',
    reason: 'an operator corrects an enrolment in minutes; ten calls a second for ever help nobody',
  },
  heartbeatsPerSecond: {
    value: 20,
    unit: 'count',
    bounds: 'heartbeats of one worker in one second, in each isolate of the edge',
    reason: 'a worker sends one a second, and one more when it drains; one object takes about 1,000 calls a second',
  },
  tokensPerSecond: {
    value: 2_000,
    unit: 'count',
    bounds: 'tokens a second of one answer that the fleet believes a worker',
    reason: 'the model is published with 159 tokens a second; special hardware reaches 2,000 with models of its size',
  },
  duplicateShownMs: {
    value: 15_000,
    unit: 'milliseconds',
    bounds: 'time for which a second process with one worker id is reported after its last heartbeat',
    reason: 'three times the longest pause between the heartbeats of a refused process',
  },
  workersEnrolled: {
    value: 4_000,
    unit: 'count',
    bounds: 'workers with an enrolment, revoked ones included',
    reason: 'four times the 1,000 workers of one fleet; one row has about 1 kB in the memory of the fleet object',
  },
  workerModels: {
    value: 16,
    unit: 'count',
    bounds: 'models of one enrolment',
    reason: 'the catalogue has 2; one engine serves one',
  },
  workerSlots: {
    value: 1_024,
    unit: 'count',
    bounds: 'slots of one worker',
    reason: 'four times the largest profile (256); a heartbeat lists one request id for each slot, 64 kB in all',
  },
  workerSlotsDefault: {
    value: 256,
    unit: 'count',
    bounds: 'slots of a worker whose enrolment names none',
    reason: 'the largest profile in gpu-worker/profile.ts',
  },
  workerReasonCharacters: {
    value: 600,
    unit: 'characters',
    bounds: 'a reason that a worker or the edge gives in a heartbeat or its answer',
    reason: 'one sentence with two addresses fits; heartbeats come once a second from each worker',
  },
} as const satisfies Record<string, Budget>

export type BudgetName = keyof typeof budgets
