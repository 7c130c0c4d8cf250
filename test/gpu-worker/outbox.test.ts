import { mkdtempSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { budgets } from '../../backends/model/budgets.ts'
import { ProvenDispatch } from '../../backends/wire/dispatch.ts'
import { Receipt, ReceiptsCall, receiptOf, receiptsPerCall } from '../../backends/wire/receipt.ts'
import { sealKey, unseal } from '../../backends/wire/seal.ts'
import { Delivery } from '../../gpu-worker/delivery.ts'
import { Outbox, OutboxFailure } from '../../gpu-worker/outbox.ts'
import { testDispatch } from '../support/fleet.ts'
import { eventually } from '../support/product.ts'

const dispatch = (id: string) => testDispatch(id, { promptTokensMax: 100, outputTokensMax: 100 })

const claim = (id: string) => ProvenDispatch.parse(dispatch(id))

function receipt(id: string): Receipt {
  const counts = { promptTokens: 1, cachedTokens: 0, outputTokens: 1, reasoningTokens: 0 }
  return receiptOf(dispatch(id), {
    ...{ finishReason: 'stop', counts, estimated: false },
    ...{ startedAt: 1, endedAt: 2, firstTokenMs: null, engine: 'e' },
  })
}

let folder: string
const opened: DatabaseSync[] = []
let outbox: Outbox
/** Lines that the outbox logged. */
let lines: string[]

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tramontane-outbox-'))
  lines = []
  outbox = new Outbox(folder, (line) => lines.push(line))
})

afterEach(() => {
  for (const db of opened.splice(0)) db.close()
  outbox.close()
})

/** Opens the outbox again, as the successor of a dead process does. */
function reopened(): Outbox {
  outbox.close()
  outbox = new Outbox(folder, (line) => lines.push(line))
  return outbox
}

function database(): DatabaseSync {
  const db = new DatabaseSync(join(folder, 'outbox.sqlite'))
  opened.push(db)
  return db
}

/** Changes rows as another program would. */
function alter(statement: string): void {
  database().exec(statement)
}

function owe(id: string): void {
  outbox.begin(dispatch(id), 7, 1)
  outbox.finish(receipt(id))
}

describe('outbox', () => {
  it('[WRK20] a request that was running when the process died becomes a failed receipt with its last counts', () => {
    outbox.begin(dispatch('a'), 0, 5)
    outbox.begin(dispatch('b'), 3, 6)
    outbox.count(3, { promptTokens: 70, cachedTokens: 30, outputTokens: 12, reasoningTokens: 4 })
    outbox.count(0, { promptTokens: 9, cachedTokens: 0, outputTokens: 1, reasoningTokens: 0 })
    owe('c')
    const next = reopened()
    expect(next.recover('e 1', 99)).toMatchObject([
      {
        requestId: 'a',
        outcome: 'failed',
        costNano: 0,
        estimated: true,
        counts: { promptTokens: 9, outputTokens: 1 },
        startedAt: 5,
        endedAt: 99,
      },
      {
        requestId: 'b',
        outcome: 'failed',
        counts: { promptTokens: 70, cachedTokens: 30, outputTokens: 12, reasoningTokens: 4 },
      },
    ])
    expect(next.recover('e 1', 100)).toEqual([])
    expect(
      next
        .owed(10)
        .map((each) => each.dispatchId)
        .sort(),
    ).toEqual(['a.1', 'b.1', 'c.1'])
  })

  it('[WRK21] counts of a new request in a slot start at zero, not at those of the previous request', () => {
    outbox.count(0, { promptTokens: 5, cachedTokens: 5, outputTokens: 5, reasoningTokens: 5 })
    outbox.begin(dispatch('a'), 0, 1)
    expect(reopened().recover('e', 2)).toMatchObject([{ counts: { promptTokens: 0, outputTokens: 0 } }])
  })

  it('[OBX3] a receipt whose row is missing is written again and logged', () => {
    outbox.begin(dispatch('a'), 0, 1)
    alter(`DELETE FROM dispatches`)
    outbox.finish(receipt('a'))
    expect(lines).toEqual([expect.stringMatching(/ERROR: a running request, a\.1, was not on disk/)])
    expect(outbox.owed(10)).toEqual([{ dispatchId: 'a.1', receipt: receipt('a') }])
    // Another process has written a failed receipt, which was possible before folders had owners.
    outbox.begin(dispatch('b'), 0, 1)
    alter(`UPDATE dispatches SET receipt = '{}' WHERE dispatch_id = 'b.1'`)
    outbox.finish(receipt('b'))
    expect(lines[1]).toMatch(/ERROR: a running request, b\.1/)
    expect(outbox.owed(10).map((each) => each.receipt)).toEqual([receipt('a'), receipt('b')])
    outbox.acknowledged(['none.1'])
    expect(lines[2]).toMatch(/ERROR: an acknowledged receipt, none\.1/)
    outbox.begin(dispatch('c'), 0, 1)
    outbox.forget('c.1')
    expect(lines.length).toBe(3)
  })

  it('[OBX4] no request begins while the disk accepts no writes, and running requests’ receipts come from memory', () => {
    for (const [index, id] of ['a', 'b'].entries()) outbox.begin(dispatch(id), index, 1)
    const refuse = (statement: string) =>
      alter(
        `CREATE TRIGGER full_${statement} BEFORE ${statement} ON dispatches BEGIN SELECT RAISE(ABORT, 'disk is full'); END`,
      )
    for (const statement of ['INSERT', 'UPDATE', 'DELETE']) refuse(statement)
    outbox.finish(receipt('a'))
    expect(() => outbox.begin(dispatch('c'), 2, 2)).toThrow(OutboxFailure)
    expect(outbox.usable()).toBe(false)
    expect(outbox.counts()).toEqual({ running: 1, owed: 1, refused: 0 })
    expect(outbox.about(['a', 'b', 'c'])).toEqual({ owed: [claim('a')], running: [claim('b')] })
    expect(outbox.owed(10)).toEqual([{ dispatchId: 'a.1', receipt: receipt('a') }])
    outbox.finish(receipt('b'))
    expect(outbox.owed(1)).toEqual([{ dispatchId: 'a.1', receipt: receipt('a') }])
    expect(outbox.owed(10, 'a.1')).toEqual([{ dispatchId: 'b.1', receipt: receipt('b') }])
    outbox.acknowledged(['a.1'])
    expect(outbox.owed(10)).toEqual([{ dispatchId: 'b.1', receipt: receipt('b') }])
    expect(lines.filter((line) => line.includes('ERROR')).length).toBe(1)
    // While a receipt is in memory, no request begins even if its row could be written. Otherwise memory would not be
    // bounded.
    for (const statement of ['INSERT', 'DELETE']) alter(`DROP TRIGGER full_${statement}`)
    expect(() => outbox.begin(dispatch('d'), 3, 2)).toThrow(OutboxFailure)
    alter('DROP TRIGGER full_UPDATE')
    expect(outbox.usable()).toBe(true)
    outbox.begin(dispatch('c'), 2, 3)
    reopened()
    expect(outbox.owed(10)).toEqual([{ dispatchId: 'b.1', receipt: receipt('b') }])
    expect(outbox.recover('e', 4)).toMatchObject([{ dispatchId: 'c.1' }])
  })

  it('[OBX5] recovery leaves the requests of its own process alone, and moves an unreadable row to the refused ones', () => {
    outbox.begin(dispatch('dead'), 0, 1)
    outbox.begin(dispatch('torn'), 1, 1)
    alter(`UPDATE dispatches SET dispatch = '{"torn' WHERE dispatch_id = 'torn.1'`)
    reopened()
    outbox.begin(dispatch('own'), 2, 2)
    expect(outbox.recover('e', 3).map(({ dispatchId }) => dispatchId)).toEqual(['dead.1'])
    expect(outbox.counts()).toEqual({ running: 1, owed: 1, refused: 1 })
    alter(`UPDATE dispatches SET receipt = '{"torn' WHERE dispatch_id = 'dead.1'`)
    expect(outbox.owed(10)).toEqual([])
    expect(outbox.counts()).toEqual({ running: 1, owed: 0, refused: 2 })
  })

  it('[OBX6] the number of refused receipts is limited, and the oldest are dropped first', () => {
    const max = budgets.outboxRefused.value
    alter(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${max})
      INSERT INTO refused (dispatch_id, dispatch, reason) SELECT 'old' || i, '{}', 'proof: wrong' FROM n`)
    owe('a')
    outbox.refused('a.1', 'line\nbreak')
    expect(outbox.counts().refused).toBe(max)
    const select = database().prepare(
      'SELECT dispatch_id, reason FROM refused WHERE dispatch_id IN (?, ?, ?) ORDER BY seq',
    )
    expect(select.all('old1', 'old2', 'a.1')).toEqual([
      { dispatch_id: 'old2', reason: 'proof: wrong' },
      { dispatch_id: 'a.1', reason: 'line?break' },
    ])
  })

  it('[OBX7] an outbox of the previous version opens: refused receipts stay, pending ones get their dispatch’s terms', () => {
    outbox.close()
    const old = mkdtempSync(join(tmpdir(), 'tramontane-outbox-'))
    const db = new DatabaseSync(join(old, 'outbox.sqlite'))
    db.exec(`CREATE TABLE dispatches (dispatch_id TEXT PRIMARY KEY, slot INTEGER NOT NULL, dispatch TEXT NOT NULL,
      started_at INTEGER NOT NULL, receipt TEXT, refused TEXT) WITHOUT ROWID`)
    const insert = db.prepare('INSERT INTO dispatches VALUES (?, 0, ?, 1, ?, ?)')
    for (const id of ['owed', 'refused', 'running']) {
      const { proof: _, ...oldDispatch } = dispatch(id)
      const { terms: __, proof: ___, ...oldReceipt } = receipt(id)
      const text = id === 'running' ? null : JSON.stringify(oldReceipt)
      insert.run(`${id}.1`, JSON.stringify(oldDispatch), text, id === 'refused' ? 'no such reservation' : null)
    }
    db.close()
    outbox = new Outbox(old, (line) => lines.push(line))
    expect(outbox.counts()).toEqual({ running: 1, owed: 1, refused: 1 })
    expect(outbox.owed(10)).toEqual([{ dispatchId: 'owed.1', receipt: { ...receipt('owed'), proof: '' } }])
    expect(outbox.recover('e', 9)).toMatchObject([{ dispatchId: 'running.1', outcome: 'failed', proof: '' }])
    expect(lines).toEqual([])
  })

  it('[WRK22] an outbox file that is not a database causes one sentence that names the file and what to do', () => {
    const broken = mkdtempSync(join(tmpdir(), 'tramontane-outbox-'))
    writeFileSync(
      join(broken, 'outbox.sqlite'),
      'this is not a database, but it is long enough to look like one '.repeat(40),
    )
    expect(() => new Outbox(broken)).toThrow(/outbox\.sqlite cannot be opened .*move it away/)
  })
})

describe('delivery', () => {
  let server: Server
  let calls: string[][]
  let key: CryptoKey
  let answer: (ids: string[]) => { status: number; body: object }

  beforeEach(async () => {
    calls = []
    key = await sealKey(new Uint8Array(32).fill(4))
    answer = (ids) => ({ status: 200, body: { done: ids, refused: [] } })
    server = createServer((request, response) => {
      const parts: Buffer[] = []
      request.on('data', (part: Buffer) => parts.push(part))
      request.on('end', async () => {
        const { receipts } = ReceiptsCall.parse(JSON.parse(Buffer.concat(parts).toString()))
        const opened = await Promise.all(receipts.map((token) => unseal('receipt', token, key, Receipt)))
        const ids = opened.map((each) => (each.kind === 'read' ? each.claims.dispatchId : 'not sealed'))
        calls.push(ids)
        const { status, body } = answer(ids)
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  })

  afterEach(() => {
    server.closeAllConnections()
    server.close()
  })

  function deliver(log: (line: string) => void = () => undefined): Delivery {
    const edgeUrl = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    return new Delivery({ edgeUrl, kid: 'w1.1', key, outbox, log, now: () => Date.now() })
  }

  it('[WRK23] pending receipts are delivered sealed, in calls of limited size, and are then removed', async () => {
    for (let index = 0; index < receiptsPerCall + 5; index++) owe(`r${index}`)
    await deliver().flush(5_000)
    expect(calls.map((ids) => ids.length)).toEqual([receiptsPerCall, 5])
    expect(calls.flat()).not.toContain('not sealed')
    expect(outbox.counts()).toEqual({ running: 0, owed: 0, refused: 0 })
  })

  it('[WRK24] delivery retries a failing gateway until it acknowledges', async () => {
    owe('a')
    answer = (ids) => (calls.length < 3 ? { status: 500, body: {} } : { status: 200, body: { done: ids, refused: [] } })
    await deliver().flush(8_000)
    expect(calls).toEqual([['a.1'], ['a.1'], ['a.1']])
    expect(outbox.counts().owed).toBe(0)
  })

  it('[WRK25] a receipt that the gateway rejects is kept for the operator and not sent again', async () => {
    owe('a')
    owe('b')
    answer = () => ({
      status: 200,
      body: { done: ['b.1'], refused: [{ dispatchId: 'a.1', reason: 'no such reservation' }] },
    })
    const lines: string[] = []
    const delivery = deliver((line) => lines.push(line))
    await delivery.flush(5_000)
    await delivery.flush(1_000)
    expect(calls.length).toBe(1)
    expect(outbox.counts()).toEqual({ running: 0, owed: 0, refused: 1 })
    expect(lines).toEqual([expect.stringContaining('the gateway refused a.1: no such reservation')])
  })

  it('[WRK26] a flush ends within its time limit when the gateway fails, and no receipt is lost', async () => {
    owe('a')
    answer = () => ({ status: 503, body: {} })
    const start = performance.now()
    await deliver().flush(300)
    expect(performance.now() - start).toBeLessThan(3_000)
    expect(outbox.counts().owed).toBe(1)
  })

  it('[WRK27] receipts that are not urgent share a call, and an urgent one is sent at once with the waiting ones', async () => {
    const delivery = deliver()
    for (const id of ['a', 'b', 'c']) owe(id)
    const settled = ['a', 'b'].map((id) => delivery.owed(`${id}.1`, false))
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(calls).toEqual([])
    await delivery.owed('c.1', true)
    await Promise.all(settled)
    expect(calls.map((ids) => ids.sort())).toEqual([['a.1', 'b.1', 'c.1']])
    owe('d')
    await delivery.owed('d.1', false)
    expect(calls.length).toBe(2)
  })

  it('[OBX9] a receipt that the answer does not name is sent again later, and delays no other receipt', async () => {
    for (let index = 0; index < receiptsPerCall + 10; index++) owe(`r${String(index).padStart(3, '0')}`)
    const stuck = (id: string) => /r0[0-4]/.test(id) && calls.length < 4
    answer = (ids) => ({ status: 200, body: { done: ids.filter((id) => !stuck(id)), refused: [] } })
    const delivery = deliver()
    delivery.wake()
    await eventually(
      async () => outbox.counts().owed,
      (owed) => owed <= 50,
    )
    expect(calls.map((ids) => ids.length)).toEqual([receiptsPerCall, 10])
    owe('s')
    await delivery.owed('s.1', true)
    expect(calls[2]).toEqual(['s.1'])
    await eventually(
      async () => outbox.counts().owed,
      (owed) => owed === 0,
    )
    expect(calls[3]?.length).toBe(50)
    await delivery.flush(100)
  })

  it('[OBX10] an answer removes no receipt that was not in the call', async () => {
    owe('a')
    outbox.begin(dispatch('running'), 1, 1)
    answer = (ids) => ({
      status: 200,
      body: { done: [...ids, 'running.1'], refused: [{ dispatchId: 'running.1', reason: 'x' }] },
    })
    await deliver().flush(5_000)
    expect(outbox.counts()).toEqual({ running: 1, owed: 0, refused: 0 })
    expect(lines).toEqual([])
  })
})
