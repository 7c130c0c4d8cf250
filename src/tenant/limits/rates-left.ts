import { type LimitState, type Limits, type RateLeft, rateLeft } from './limits.ts'

/** The tighter of the key's and the tenant's rates, for headers. */
export interface RatesLeft {
  requests?: RateLeft
  tokens?: RateLeft
}

interface Limited {
  limits: Limits
  state: LimitState
}

export function ratesLeft({ tenant, key }: { tenant: Limited; key: Limited | undefined }, now: number): RatesLeft {
  const requests = tighter(requestsLeft(tenant, now), key && requestsLeft(key, now))
  const tokens = tighter(tokensLeft(tenant, now), key && tokensLeft(key, now))
  return { ...(requests && { requests }), ...(tokens && { tokens }) }
}

function requestsLeft({ limits, state }: Limited, now: number): RateLeft | undefined {
  return rateLeft(state.requests, limits.requestsPerMinute, now)
}

function tokensLeft({ limits, state }: Limited, now: number): RateLeft | undefined {
  return rateLeft(state.tokens, limits.tokensPerMinute, now)
}

function tighter(a: RateLeft | undefined, b: RateLeft | undefined): RateLeft | undefined {
  return a && b ? (b.left < a.left ? b : a) : (a ?? b)
}
