/** The refusals of an admission and their texts. */
import type { LimitRefusal } from './limits/limits.ts'
import type { RatesLeft } from './limits/rates-left.ts'

type RefusalCode =
  | 'invalid_api_key'
  | 'rate_limit_exceeded'
  | 'insufficient_quota'
  | 'permission_denied'
  | 'invalid_value'
  | 'internal_error'

export interface AdmissionRefusal {
  ok: false
  code: RefusalCode
  message: string
  /** Null if waiting does not help. */
  retryAfterMs: number | null
  rates: RatesLeft
  /** The field of the request that is refused, without its path: each dialect has its own name for it. */
  field?: 'effort'
}

export function refuse(code: RefusalCode, message: string, rates: RatesLeft = {}): AdmissionRefusal {
  return { ok: false, code, message, retryAfterMs: null, rates }
}

export const suspendedMessage = 'This tenant is suspended. Ask the operator to reactivate it.'

export function roleTooLow(role: string): AdmissionRefusal {
  const message = `A key with role ${role} can only read usage. Use a key with role member or higher.`
  return refuse('permission_denied', message)
}

export function modelNotAllowed(model: string, allowed: readonly string[]): AdmissionRefusal {
  return refuse('permission_denied', `This key cannot use model ${model}. Allowed: ${allowed.join(', ')}.`)
}

export function effortNotSupported(model: string, effort: string): AdmissionRefusal {
  const message = `"${effort}" is not available with ${model}, and this tenant rejects unavailable values. Use one that is available.`
  return { ...refuse('invalid_value', message), field: 'effort' }
}

export function rateCardMissing(model: string): AdmissionRefusal {
  return refuse('permission_denied', `This tenant has no rate card for ${model}. Ask the operator to add one.`)
}

export function creditTooLow(boundNano: number, leftNano: number, rates: RatesLeft = {}): AdmissionRefusal {
  const message = moneyMessage(boundNano, leftNano, "the tenant's credit", 'ask the operator for credit')
  return refuse('insufficient_quota', message, rates)
}

interface ExceededLimit {
  limited: 'key' | 'tenant'
  by: LimitRefusal
  boundNano: number
  /** How the client can make the request smaller. */
  advice: string
  rates: RatesLeft
}

export function limitExceeded({ limited, by, boundNano, advice, rates }: ExceededLimit): AdmissionRefusal {
  switch (by.limit) {
    case 'requests':
    case 'tokens':
    case 'concurrent': {
      const { max, left, retryAfterMs } = by
      const waits = max !== 0 && Number.isFinite(retryAfterMs)
      const text = rateTexts[by.limit][waits ? 'wait' : 'never']
      const message = `This ${limited} is limited to ${text({ max, left, retryAfterMs, advice })}`
      return { ...refuse('rate_limit_exceeded', message, rates), retryAfterMs: waits ? retryAfterMs : null }
    }
    case 'budget-total':
    case 'budget-day':
    case 'budget-month': {
      const budget = `the ${budgetNames[by.limit]} of this ${limited}`
      const renewal =
        by.renewsAt === null ? '' : `wait until ${new Date(by.renewsAt).toISOString()}, when it renews, or `
      const message = moneyMessage(boundNano, by.left, budget, `${renewal}ask for a larger budget`)
      return refuse('insufficient_quota', message, rates)
    }
  }
}

interface RateFacts {
  max: number
  left: number
  retryAfterMs: number
  advice: string
}

type RateText = (facts: RateFacts) => string

/** `never` where the request fits at no time. */
const rateTexts: Record<'requests' | 'tokens' | 'concurrent', { wait: RateText; never: RateText }> = {
  requests: {
    wait: ({ max, retryAfterMs }) => `${max} requests per minute. ${tryAgain(retryAfterMs)}.`,
    never: ({ max }) => `${max} requests per minute. Ask the operator for a larger limit.`,
  },
  tokens: {
    wait: ({ max, left, retryAfterMs, advice }) =>
      `${max} tokens per minute, with ${left} remaining. ${tryAgain(retryAfterMs)}, or ${advice.toLowerCase()}.`,
    never: ({ max, advice }) => `${max} tokens per minute, and this request could use more. ${advice}.`,
  },
  concurrent: {
    wait: ({ max }) => `${max} concurrent requests, and all of them are running. Wait until one ends.`,
    never: ({ max }) => `${max} concurrent requests. Ask the operator for a larger limit.`,
  },
}

const budgetNames = { 'budget-total': 'budget', 'budget-day': 'daily budget', 'budget-month': 'monthly budget' }

function tryAgain(retryAfterMs: number): string {
  return `Please try again in ${(retryAfterMs / 1_000).toFixed(1)}s`
}

/** @param advice how to get more money */
function moneyMessage(boundNano: number, leftNano: number, budget: string, advice: string): string {
  const shown = (nano: number) => `$${(Math.max(0, nano) / 1e9).toFixed(6)}`
  // A smaller max_tokens does not help when nothing remains.
  if (leftNano <= 0) return `Nothing of ${budget} remains. ${advice[0]?.toUpperCase()}${advice.slice(1)}.`
  const reason = `This request could cost ${shown(boundNano)}, but only ${shown(leftNano)} of ${budget} remains.`
  return `${reason} Set a smaller max_tokens, or ${advice}.`
}
