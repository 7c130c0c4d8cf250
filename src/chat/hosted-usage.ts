/**
 * The edge's own settlement of a hosted answer, because a hosted API signs no receipt. The counts come from the API's
 * usage. If that is missing, because the client left or the API broke off, they are an upper estimate, marked as one.
 *
 * The estimate is one token per `bytesPerToken` UTF-8 bytes of text (a low number by design), and at least one per
 * piece received. The API does not report reasoning tokens: they are estimated by the reasoning's share of the bytes,
 * and the entry is marked too, although its cost is exact. Pure.
 */
import type { BackendEvent, BackendUsage } from '../../backends/contract/backend.ts'
import type { FinishReason } from '../../backends/model/chunk.ts'
import { possibleCounts, widestBounds } from '../../backends/model/counts.ts'
import { type Counts, costNano, type Rates } from '../../backends/model/money.ts'
import type { Settlement } from '../../backends/wire/receipt.ts'

export interface HostedTerms
  extends Pick<
    Settlement,
    'requestId' | 'dispatchId' | 'tenantId' | 'keyId' | 'workerId' | 'model' | 'effort' | 'engine'
  > {
  rates: Rates
  textBytes: number
  otherTokensMax: number
  outputTokensMax: number
  bytesPerToken: number
  startedAt: number
}

/** `failed`: not billed, like the work of a worker that died. */
export type HostedEnd = FinishReason | 'abort' | 'failed'

export interface Counted {
  counts: Counts
  estimated: boolean
}

/** Counts the received part of an answer. */
export class HostedAnswer {
  #usage: BackendUsage | undefined
  #contentBytes = 0
  #reasoningBytes = 0
  #pieces = 0
  firstAt: number | null = null

  take(event: BackendEvent, now: number): void {
    if (event.kind === 'usage') this.#usage = event.usage
    if (event.kind !== 'text' && event.kind !== 'call' && event.kind !== 'piece') return
    this.firstAt ??= now
    this.#pieces += 1
    if (event.kind === 'piece') return
    if (event.kind === 'call') this.#contentBytes += bytes(event.call.name) + bytes(event.call.arguments)
    else if (event.channel === 'content') this.#contentBytes += bytes(event.text)
    else this.#reasoningBytes += bytes(event.text)
  }

  /** Impossible counts of a hosted API are brought into range and marked as estimated. */
  count(terms: HostedTerms): Counted {
    const all = this.#contentBytes + this.#reasoningBytes
    const used = this.#usage && { ...this.#usage, cachedTokens: this.#usage.cachedTokens ?? 0 }
    const { promptTokens, cachedTokens, outputTokens } = used ?? {
      promptTokens: Math.ceil(terms.textBytes / terms.bytesPerToken) + terms.otherTokensMax,
      cachedTokens: 0,
      outputTokens: Math.min(terms.outputTokensMax, Math.max(this.#pieces, Math.ceil(all / terms.bytesPerToken))),
    }
    const reasoningTokens = all === 0 ? 0 : Math.round((outputTokens * this.#reasoningBytes) / all)
    const { counts, changed } = possibleCounts(
      { promptTokens, cachedTokens, outputTokens, reasoningTokens },
      widestBounds,
    )
    return { counts, estimated: changed || this.#usage === undefined || this.#reasoningBytes > 0 }
  }
}

export function hostedSettlement(terms: HostedTerms, seen: HostedAnswer, end: HostedEnd, now: number): Settlement {
  const { rates, textBytes: _, otherTokensMax: __, outputTokensMax: ___, bytesPerToken: ____, ...names } = terms
  const { counts, estimated } = seen.count(terms)
  return {
    ...names,
    pool: 'hosted',
    outcome: end === 'failed' ? 'failed' : end === 'abort' ? 'aborted' : 'finished',
    finishReason: end === 'failed' ? 'error' : end,
    counts,
    // Not clamped: the ledger posts at most the reserved amount and records the rest as the operator's loss.
    costNano: end === 'failed' ? 0 : costNano(counts, rates),
    estimated,
    endedAt: now,
    firstTokenMs: seen.firstAt === null ? null : Math.max(0, seen.firstAt - terms.startedAt),
  }
}

function bytes(text: string): number {
  return new TextEncoder().encode(text).byteLength
}
