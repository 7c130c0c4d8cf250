import { mkdtempSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Receipt, ReceiptsCall, receiptOf, receiptsPerCall } from '../../backends/protocol/receipt.ts'
import { sealKey, unseal } from '../../backends/protocol/seal.ts'
import { Delivery } from '../../gpu-worker/delivery.ts'
import { Outbox } from '../../gpu-worker/outbox.ts'
import { testDispatch } from '../support/fleet.ts'

const dispatch = (id: string) => testDispatch(id, { promptTokensMax: 100, outputTokensMax: 100 })

function receipt(id: string): Receipt {
  const counts = { promptTokens: 1, cachedTokens: 0, outputTokens: 1, reasoningTokens: 0 }
  return receiptOf(dispatch(id), {
    ...{ finishReason: 'stop', counts, estimated: false },
    ...{ startedAt: 1, endedAt: 2, firstTokenMs: null, engine: 'e' },
  })
}

let folder: string
let outbox: Outbox
/** What the outbox logged. */
let lines: string[]

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tramontane-outbox-'))
  lines = []
  outbox = new Outbox(folder, (line) => lines.push(line))
})

afterEach(() => outbox.close())

/** As its successor finds it, when this process has died. */
function reopened(): Outbox {
  outbox.close()
  outbox = new Outbox(folder, (line) => lines.push(line))
  return outbox
}

function owe(id: string): void {
  outbox.begin(dispatch(id), 7, 1)
  outbox.finish(receipt(id))
}

describe('outbox', () => {
  it('[WRK20] what was running when the process died becomes a failed receipt with the counts it had reached', () => {
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

  it('[WRK21] counts of a new request in a slot begin at zero, whatever the last one reached', () => {
    outbox.count(0, { promptTokens: 5, cachedTokens: 5, outputTokens: 5, reasoningTokens: 5 })
    outbox.begin(dispatch('a'), 0, 1)
    expect(reopened().recover('e', 2)).toMatchObject([{ counts: { promptTokens: 0, outputTokens: 0 } }])
  })

  it('[WRK22] an outbox that is no database is one clear sentence', () => {
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
        const ids = opened.map((each) => each?.dispatchId ?? 'not sealed')
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

  it('[WRK23] everything owed is delivered, sealed, at most a call’s worth at a time, and then gone', async () => {
    for (let index = 0; index < receiptsPerCall + 5; index++) owe(`r${index}`)
    await deliver().flush(5_000)
    expect(calls.map((ids) => ids.length)).toEqual([receiptsPerCall, 5])
    expect(calls.flat()).not.toContain('not sealed')
    expect(outbox.counts()).toEqual({ running: 0, owed: 0, refused: 0 })
  })

  it('[WRK24] a gateway that fails is asked again until it acknowledges', async () => {
    owe('a')
    answer = (ids) => (calls.length < 3 ? { status: 500, body: {} } : { status: 200, body: { done: ids, refused: [] } })
    await deliver().flush(8_000)
    expect(calls).toEqual([['a.1'], ['a.1'], ['a.1']])
    expect(outbox.counts().owed).toBe(0)
  })

  it('[WRK25] a receipt that is refused for good is kept for the operator and not sent again', async () => {
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
    expect(lines).toEqual([expect.stringContaining('a.1 was refused: no such reservation')])
  })

  it('[WRK26] when the gateway stays away, flushing ends in time and nothing is lost', async () => {
    owe('a')
    answer = () => ({ status: 503, body: {} })
    const start = performance.now()
    await deliver().flush(300)
    expect(performance.now() - start).toBeLessThan(3_000)
    expect(outbox.counts().owed).toBe(1)
  })

  it('[WRK27] receipts that are not urgent share a call; one that is goes at once, with those that wait', async () => {
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
})
