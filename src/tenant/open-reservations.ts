/**
 * The open reservations, in memory and in a table of their own, and beside each what its admission changed.
 *
 * A commit costs the pages it writes. An admission changes three things: it adds a reservation, and it changes the
 * account's balances and its key's counts. Written each to its own row, that is three pages, and one more for each key of
 * those that share a commit. So an admission writes one row: the new reservation carries the newest balances and its key's
 * newest state with it. What closes a reservation writes the account's and the key's own rows again.
 *
 * Which is newer, a row of its own or one that is carried, is told by number: reservations are numbered as they come, and
 * a row's `version` is the last number that it knows of.
 */
import { z } from 'zod'
import type { Account, Reservation } from './ledger/ledger.ts'
import type { LimitState } from './limits/limits.ts'
import { Int, int, LimitStateRow, type Sql, text } from './rows.ts'

export interface Balances extends Account {
  chainSeq: number
  chainHash: string
  state: LimitState
}

export interface KeyState {
  state: LimitState
  lastUsedAt: number | null
}

const BalancesRow = z.object({
  ...{
    creditNano: Int,
    postedNano: Int,
    reservedNano: Int,
    chainSeq: Int,
    chainHash: z.string(),
    state: LimitStateRow,
  },
}) satisfies z.ZodType<Balances>
const KeyStateRow = z.object({ state: LimitStateRow, lastUsedAt: z.number().nullable() }) satisfies z.ZodType<KeyState>

interface Carried<Value> {
  seq: number
  value: Value
}

export function openReservations(sql: Sql) {
  const open = new Map<string, { seq: number; reservation: Reservation }>()
  let last = 0
  let balances: Carried<Balances> | undefined
  const keyStates = new Map<string, Carried<KeyState>>()
  /** Added in this transaction and written at its end, by number. */
  const added = new Map<number, { reservation: Reservation; balances?: Balances; keyState?: KeyState }>()
  /** The last that was added for each key. */
  const addedFor = new Map<string, number>()

  function reload(): void {
    for (const each of [open, keyStates, added, addedFor]) each.clear()
    balances = undefined
    const account = sql.all('SELECT version FROM account')[0]
    last = account ? int(account, 'version') : 0
    for (const row of sql.all('SELECT * FROM reservations ORDER BY seq')) {
      const seq = int(row, 'seq')
      last = Math.max(last, seq)
      const keyId = text(row, 'key_id')
      const reservation: Reservation = {
        ...{ requestId: text(row, 'request_id'), keyId, state: 'reserved' },
        ...{ boundNano: int(row, 'bound_nano'), boundTokens: int(row, 'bound_tokens') },
        ...{ openedAt: int(row, 'opened_at'), expiresAt: int(row, 'expires_at') },
      }
      open.set(reservation.requestId, { seq, reservation })
      if (row.balances !== null) balances = { seq, value: BalancesRow.parse(JSON.parse(text(row, 'balances'))) }
      if (row.key_state !== null)
        keyStates.set(keyId, { seq, value: KeyStateRow.parse(JSON.parse(text(row, 'key_state'))) })
    }
  }
  reload()

  return {
    reload,
    get: (requestId: string): Reservation | undefined => open.get(requestId)?.reservation,
    all: (): Reservation[] => [...open.values()].map(({ reservation }) => reservation),
    put(reservation: Reservation): void {
      const { requestId, keyId, boundNano, boundTokens, openedAt, expiresAt } = reservation
      const known = open.get(requestId)
      const seq = known?.seq ?? ++last
      open.set(requestId, { seq, reservation })
      if (!known || added.has(seq)) {
        added.set(seq, { reservation })
        addedFor.set(keyId, seq)
        return
      }
      sql.run(
        'UPDATE reservations SET bound_nano = ?, bound_tokens = ?, opened_at = ?, expires_at = ? WHERE seq = ?',
        ...[boundNano, boundTokens, openedAt, expiresAt, seq],
      )
    },
    /** Whoever removes one puts the account and its key afterwards, or what it carried is lost. */
    remove(requestId: string): void {
      const known = open.get(requestId)
      if (!known) return
      open.delete(requestId)
      if (!added.delete(known.seq)) sql.run('DELETE FROM reservations WHERE seq = ?', known.seq)
    },
    /** What a row of its own is to say of how new it is. */
    version: () => last,
    /** The account as its row has it, or as a younger reservation carries it. */
    account<Row extends Balances>(row: Row, version: number): Row {
      return balances && balances.seq > version ? { ...row, ...balances.value } : row
    },
    key<Row extends KeyState & { keyId: string }>(row: Row, version: number): Row {
      const carried = keyStates.get(row.keyId)
      return carried && carried.seq > version ? { ...row, ...carried.value } : row
    },
    /** False where no reservation was added in this transaction that could carry it: then it is the caller's to write. */
    carryAccount({ creditNano, postedNano, reservedNano, chainSeq, chainHash, state }: Balances): boolean {
      const seq = [...addedFor.values()].at(-1)
      const row = seq === undefined ? undefined : added.get(seq)
      balances = undefined
      if (seq === undefined || !row) return false
      row.balances = { creditNano, postedNano, reservedNano, chainSeq, chainHash, state }
      balances = { seq, value: row.balances }
      return true
    },
    carryKey({ keyId, state, lastUsedAt }: KeyState & { keyId: string }): boolean {
      const seq = addedFor.get(keyId)
      const row = seq === undefined ? undefined : added.get(seq)
      keyStates.delete(keyId)
      if (seq === undefined || !row) return false
      row.keyState = { state, lastUsedAt }
      keyStates.set(keyId, { seq, value: row.keyState })
      return true
    },
    /** The end of a transaction: what was added is written, with what it carries. */
    written(): void {
      for (const [seq, { reservation, balances: carried, keyState }] of added) {
        const { requestId, keyId, boundNano, boundTokens, openedAt, expiresAt } = reservation
        sql.run(
          'INSERT INTO reservations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
          ...[seq, requestId, keyId, boundNano, boundTokens, openedAt, expiresAt],
          ...[carried ? JSON.stringify(carried) : null, keyState ? JSON.stringify(keyState) : null],
        )
      }
      added.clear()
      addedFor.clear()
    },
  }
}
