/** Watches the product's tenant accounts: the auditor gets the decisions of each committed transaction. */
import { TenantAccount } from '../../src/tenant/account.ts'
import type { Report } from './auditor.ts'
import { Machine } from './machine.ts'

/** The decisions of one tenant since its last commit. */
export class TenantWatch {
  reports: Report[] = []
  readonly #committed: (reports: Report[]) => void
  readonly inTransaction: () => boolean

  constructor(committed: (reports: Report[]) => void, inTransaction: () => boolean) {
    this.#committed = committed
    this.inTransaction = inTransaction
  }

  commit(): void {
    const { reports } = this
    this.reports = []
    if (reports.length > 0) this.#committed(reports)
  }
}

/** By the name of the tenant's machine. */
export const watches = new Map<string, TenantWatch>()

const current = () => watches.get(Machine.current?.name ?? '')
const account = TenantAccount.prototype
const storesWatched = new WeakSet<object>()

type Method =
  | ('admit' | 'readmit' | 'takeRates' | 'settle' | 'close')
  | ('credit' | 'reverse' | 'correct' | 'putTenant' | 'putKey')

function watch<Name extends Method>(
  name: Name,
  report: (args: Parameters<TenantAccount[Name]>, answer: ReturnType<TenantAccount[Name]>) => Report,
): void {
  const method = account[name] as (...args: unknown[]) => unknown
  Object.assign(account, {
    [name](this: TenantAccount, ...args: unknown[]) {
      const answer = method.apply(this, args)
      current()?.reports.push(report(args as never, answer as never))
      return answer
    },
  })
}

watch('admit', ([order, now], answer) => ({ kind: 'admit', order, answer, now }))
watch('readmit', ([order, now], answer) => ({ kind: 'readmit', order, answer, now }))
watch('takeRates', ([order, now], answer) => ({ kind: 'take', order, answer, now }))
watch('settle', ([receipt, now], answer) => ({ kind: 'settle', receipt, answer, now }))
watch('close', ([requestId, how, now], answer) => ({ kind: 'close', requestId, how, answer, now }))
watch('credit', ([nano, , now]) => ({ kind: 'credit', nano, now }))
watch('reverse', ([nano, , now], left) => ({ kind: 'reverse', nano, done: left === undefined, now }))
watch('correct', ([requestId, nano, , now], left) => {
  return { kind: 'correct', requestId, nano, done: left === undefined, now }
})
watch('putTenant', ([{ limits, createdAt }]) => ({ kind: 'tenant', limits, now: createdAt }))
watch('putKey', ([{ keyId, limits, revokedAt, createdAt }]) => {
  return { kind: 'key', keyId, limits, revoked: revokedAt !== null, now: createdAt }
})

const { write, forget, tenant } = account
Object.assign(account, {
  write(this: TenantAccount) {
    write.call(this)
    // A statement outside of a transaction commits by itself.
    const watched = current()
    if (watched && !watched.inTransaction()) watched.commit()
  },
  forget(this: TenantAccount) {
    const watched = current()
    if (watched) watched.reports = []
    forget.call(this)
  },
  tenant(this: TenantAccount) {
    const { store } = this
    if (!storesWatched.has(store)) {
      storesWatched.add(store)
      const { pruned, rateCards } = store
      const { prune } = pruned
      const { put } = rateCards
      Object.assign(pruned, {
        prune(before: number, limit: number) {
          const count = prune.call(pruned, before, limit)
          current()?.reports.push({ kind: 'prune', before })
          return count
        },
      })
      Object.assign(rateCards, {
        put(...args: Parameters<typeof put>) {
          put.call(rateCards, ...args)
          const [model, effectiveAt, rates] = args
          current()?.reports.push({ kind: 'rates', model, effectiveAt, rates })
        },
      })
    }
    return tenant.call(this)
  },
})
