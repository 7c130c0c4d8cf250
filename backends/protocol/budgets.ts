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
} as const satisfies Record<string, Budget>

export type BudgetName = keyof typeof budgets
