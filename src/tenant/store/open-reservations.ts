/**
 * Open reservations, in memory and in their own table, together with the balances that their admissions changed.
 *
 * The cost of a commit is the number of pages that it writes. An admission adds a reservation, and changes the
 * account's balances and its key's counts: with one row each, three pages, and one more per key in a shared commit. So
 * an admission writes one row: the new reservation carries the newest balances and its key's newest state. Closing a
 * reservation writes the rows of account and key.
 *
 * Numbers decide which copy is newer. Reservations are numbered in order of arrival, and the `version` of an account or
 * key row is the number of the last reservation that it includes.
 */
import { z } from 'zod'
import type { Account, Reservation } from '../ledger/ledger.ts'
import type { LimitState } from '../limits/limits.ts'
import { Int, int, LimitStateRow, type Sql, text } from './sql.ts'

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
  /** Added in this transaction and written at its end, by `seq`. */
  const added = new Map<number, { reservation: Reservation; balances?: Balances; keyState?: KeyState }>()
  /** `seq` of the last one added for each key. */
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
    /** The caller must write the account and the key afterwards, or the carried state is lost. */
    remove(requestId: string): void {
      const known = open.get(requestId)
      if (!known) return
      open.delete(requestId)
      if (!added.delete(known.seq)) sql.run('DELETE FROM reservations WHERE seq = ?', known.seq)
    },
    /** The `version` to store in a row of account or key. */
    version: () => last,
    /** The account from its row, or from a newer reservation that carries it. */
    account<Row extends Balances>(row: Row, version: number): Row {
      return balances && balances.seq > version ? { ...row, ...balances.value } : row
    },
    key<Row extends KeyState & { keyId: string }>(row: Row, version: number): Row {
      const carried = keyStates.get(row.keyId)
      return carried && carried.seq > version ? { ...row, ...carried.value } : row
    },
    /** Returns false if this transaction added no reservation that can carry the account. Then the caller writes it. */
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
    /** Call at the end of a transaction: writes the added reservations with the state that they carry. */
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
