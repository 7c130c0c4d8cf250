/** The results of a tenant object's calls: a value, or the reason for refusal. */
import type { ErrorCode } from '../../backends/model/errors.ts'

export interface Denial {
  ok: false
  code: ErrorCode
  message: string
  param: string | null
}

export type TenantResult<Value> = { ok: true; value: Value } | Denial

export function denied(code: ErrorCode, message: string, param: string | null = null): Denial {
  return { ok: false, code, message, param }
}
