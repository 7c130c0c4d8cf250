/** Classifies a refusal: retry later, skip this case, fault of this request, or hopeless for the whole run. */

export interface Faults {
  code: string
  message: string
}

export type Standing =
  | { kind: 'later'; why: string }
  | { kind: 'case'; code: string }
  | { kind: 'fault'; why: string }
  | { kind: 'hopeless'; why: string }

/** Longest Retry-After that is honoured. */
const retryAfterMaxMs = 120_000

export function standingOf(status: number, { code, message }: Faults, shouldRetry: string | null): Standing {
  const why = `${status}${code && ` ${code}`}${message && `: ${message}`}`
  if (code === 'insufficient_quota' || (status === 429 && shouldRetry === 'false')) return { kind: 'hopeless', why }
  if (status === 413 || code === 'context_length_exceeded' || isTooLong(status, message))
    return { kind: 'case', code: code || 'context_length_exceeded' }
  if ([408, 409, 425, 429].includes(status) || status >= 500) return { kind: 'later', why }
  return { kind: [401, 402, 403, 404].includes(status) ? 'hopeless' : 'fault', why }
}

/** Some engines report this without a code, in words only. */
function isTooLong(status: number, message: string): boolean {
  return (
    status === 400 && /context (length|window|size)|maximum context|too many tokens|prompt is too long/i.test(message)
  )
}

/** Reads seconds or a date; 0 if the header is missing or invalid. */
export function retryAfterMs(header: string | null, now: number): number {
  if (header === null) return 0
  const seconds = Number(header)
  const ms = Number.isFinite(seconds) ? seconds * 1_000 : Date.parse(header) - now
  return Number.isFinite(ms) ? Math.min(retryAfterMaxMs, Math.max(0, ms)) : 0
}
