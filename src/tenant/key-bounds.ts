/** A key may neither create, change nor take over a key that is wider than itself. Pure. */
import { coversRange } from '../auth/ip-range.ts'
import type { WindowKind } from './limits/calendar.ts'
import { keyBudgets, type Limits } from './limits/limits.ts'
import { type Denial, denied } from './permissions.ts'
import type { KeyRow } from './store/key-rows.ts'

/** The fields of a key that bound its use. */
export type KeyBounds = Pick<KeyRow, 'limits' | 'models' | 'expiresAt' | 'class' | 'allowedIps'>

const everywhere = ['0.0.0.0/0', '::/0']
const rates = ['requestsPerMinute', 'tokensPerMinute', 'concurrentMax'] as const

/** Returns why `wanted` exceeds the key `own`, or undefined if it does not. */
export function wider(own: KeyBounds, wanted: KeyBounds): Denial | undefined {
  for (const rate of rates) {
    if (exceeds(own.limits[rate], wanted.limits[rate])) return tooLarge(`limits.${rate}`, own.limits[rate])
  }
  for (const kind of keyBudgets) {
    if (exceeds(budgetOf(own.limits, kind), budgetOf(wanted.limits, kind)))
      return tooLarge(`limits.budgetNano.${kind}`, budgetOf(own.limits, kind))
  }
  if (exceeds(own.expiresAt, wanted.expiresAt)) return tooLarge('expiresAt', own.expiresAt)
  const { models } = own
  if (models && !(wanted.models ?? ['']).every((id) => models.includes(id)))
    return tooWide('models', `can only contain models of the key that you use: ${models.join(', ')}`)
  if (own.class === 'batch' && wanted.class !== 'batch')
    return tooWide('class', 'must be "batch", like that of the key that you use')
  const { allowedIps } = own
  if (allowedIps && !(wanted.allowedIps ?? everywhere).every((range) => coversRange(allowedIps, range)))
    return tooWide('allowedIps', `can only contain addresses of the key that you use: ${allowedIps.join(', ')}`)
  return undefined
}

/** Null is no limit. */
function exceeds(own: number | null, wanted: number | null): boolean {
  return own !== null && (wanted === null || wanted > own)
}

function budgetOf({ budgetNano }: Limits, kind: WindowKind): number | null {
  return budgetNano[kind]
}

function tooLarge(param: string, max: number | null): Denial {
  return tooWide(param, `must be at most ${max}, like that of the key that you use`)
}

function tooWide(param: string, text: string): Denial {
  return denied('permission_denied', `${param}: ${text}.`, param)
}
