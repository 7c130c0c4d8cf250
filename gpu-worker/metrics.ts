/** `/metrics` in Prometheus text format. No label has a value that a client can choose. */
import type { Receipt } from '../backends/wire/receipt.ts'
import type { EngineLoad } from './engine/engine.ts'

const outcomes = ['finished', 'aborted', 'failed'] as const
const buckets = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

export class Metrics {
  readonly #requests = new Map<string, number>(outcomes.map((outcome) => [outcome, 0]))
  readonly #refusals = new Map<string, number>()
  readonly #firstToken = buckets.map(() => 0)
  #firstTokenCount = 0
  #firstTokenSumMs = 0
  #wastedTokens = 0

  settled(receipt: Receipt): void {
    this.#requests.set(receipt.outcome, (this.#requests.get(receipt.outcome) ?? 0) + 1)
    if (receipt.outcome !== 'finished') this.#wastedTokens += receipt.counts.outputTokens
    if (receipt.firstTokenMs === null) return
    this.#firstTokenCount += 1
    this.#firstTokenSumMs += receipt.firstTokenMs
    buckets.forEach((bound, index) => {
      if (receipt.firstTokenMs !== null && receipt.firstTokenMs / 1_000 <= bound) {
        this.#firstToken[index] = (this.#firstToken[index] ?? 0) + 1
      }
    })
  }

  /** `code` is one of the worker's own refusal codes. */
  refused(code: string): void {
    this.#refusals.set(code, (this.#refusals.get(code) ?? 0) + 1)
  }

  render(now: {
    load: EngineLoad
    slotsMax: number
    slotsHeld: number
    receiptsOwed: number
    receiptsRefused: number
    up: boolean
  }): string {
    const { load } = now
    return [
      metric('tramontane_engine_up', 'gauge', 'Whether the engine can serve.', [['', now.up ? 1 : 0]]),
      metric('tramontane_slots', 'gauge', 'Requests that may run at once.', [['', now.slotsMax]]),
      metric('tramontane_slots_held', 'gauge', 'Requests that hold a slot.', [['', now.slotsHeld]]),
      metric('tramontane_engine_running', 'gauge', 'Requests in the batch.', [['', load.running]]),
      metric('tramontane_kv_tokens', 'gauge', 'Tokens in the KV cache.', [['', load.kvTokens]]),
      metric('tramontane_kv_tokens_max', 'gauge', 'Capacity of the KV cache in tokens.', [['', load.kvTokensMax]]),
      metric('tramontane_prompt_tokens_total', 'counter', 'Prompt tokens, cached ones included.', [
        ['', load.promptTokensTotal],
      ]),
      metric('tramontane_cached_tokens_total', 'counter', 'Prompt tokens found in the cache.', [
        ['', load.cachedTokensTotal],
      ]),
      metric('tramontane_output_tokens_total', 'counter', 'Generated tokens.', [['', load.outputTokensTotal]]),
      metric('tramontane_wasted_tokens_total', 'counter', 'Generated tokens of aborted or failed requests.', [
        ['', this.#wastedTokens],
      ]),
      metric('tramontane_engine_restarts_total', 'counter', 'Engine processes that died.', [['', load.restartsTotal]]),
      metric('tramontane_requests_total', 'counter', 'Requests by outcome.', labelled('outcome', this.#requests)),
      metric('tramontane_refusals_total', 'counter', 'Dispatches refused, by code.', labelled('code', this.#refusals)),
      metric('tramontane_receipts_owed', 'gauge', 'Receipts not yet acknowledged.', [['', now.receiptsOwed]]),
      metric('tramontane_receipts_refused', 'gauge', 'Receipts that the gateway refused permanently.', [
        ['', now.receiptsRefused],
      ]),
      this.#histogram(),
      '',
    ].join('\n')
  }

  #histogram(): string {
    const name = 'tramontane_first_token_seconds'
    const rows: [string, number][] = buckets.map((bound, index) => [
      `_bucket{le="${bound}"}`,
      this.#firstToken[index] ?? 0,
    ])
    rows.push(
      ['_bucket{le="+Inf"}', this.#firstTokenCount],
      ['_sum', this.#firstTokenSumMs / 1_000],
      ['_count', this.#firstTokenCount],
    )
    return metric(name, 'histogram', 'Time from the accepted dispatch to the first token.', rows)
  }
}

function metric(name: string, type: string, help: string, rows: [string, number][]): string {
  return [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} ${type}`,
    ...rows.map(([suffix, value]) => `${name}${suffix} ${value}`),
  ].join('\n')
}

function labelled(label: string, values: Map<string, number>): [string, number][] {
  return [...values].map(([value, count]) => [`{${label}="${value}"}`, count])
}
