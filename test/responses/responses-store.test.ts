/** Stored responses and replays: the real SQL on Node's SQLite. */
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, it } from 'vitest'
import type { StoredResponse } from '../../src/dialects/dialect.ts'
import { answerCharactersMax } from '../../src/responses/answer-rows.ts'
import { ResponsesStore } from '../../src/responses/responses-store.ts'
import { nodeSql } from '../support/tenant.ts'

const open = () => new ResponsesStore(nodeSql(new DatabaseSync(':memory:')))

const response = (n: number, previous?: number, text = `answer ${n}`): StoredResponse => ({
  responseId: `resp_${n}`,
  previousId: previous === undefined ? undefined : `resp_${previous}`,
  input: [{ role: 'user', content: `question ${n}` }],
  output: [{ type: 'message', id: `msg_${n}`, content: text }],
  body: { id: `resp_${n}`, text },
})

describe('stored responses', () => {
  it('[ASW1] a complete conversation is returned, oldest first, with long texts, and items by id', () => {
    const store = open()
    const long = '🦊'.repeat(700_000)
    expect(store.keep(response(1, undefined, long), 100)).toBe(true)
    store.keep(response(2, 1), 100)
    const { turns, items } = store.previousResponse('resp_2', ['msg_1', 'msg_9'], 50)
    const wanted = [response(1, undefined, long), response(2, 1)].map(({ input, output }) => ({ input, output }))
    // Compared as a boolean, because a diff of a million characters is unreadable.
    expect(JSON.stringify(turns) === JSON.stringify(wanted)).toBe(true)
    expect(JSON.stringify(items) === JSON.stringify([['msg_1', { type: 'message', id: 'msg_1', content: long }]])).toBe(
      true,
    )
    expect(JSON.parse(store.body('resp_2', 50) ?? '')).toEqual({ id: 'resp_2', text: 'answer 2' })
    expect(JSON.parse(store.input('resp_2', 50) ?? '')).toEqual([{ role: 'user', content: 'question 2' }])
  })

  it('[ASW2] an expired or deleted response and its continuations are not found, and pruning leaves no row', () => {
    const database = new DatabaseSync(':memory:')
    const store = new ResponsesStore(nodeSql(database))
    store.keep(response(1), 100)
    store.keep(response(2, 1), 200)
    expect(store.previousResponse('resp_2', [], 99).turns).toHaveLength(2)
    expect(store.previousResponse('resp_2', ['msg_1'], 100)).toEqual({ turns: undefined, items: [] })
    expect(store.body('resp_1', 100)).toBeUndefined()
    expect(store.prune(100)).toBe(200)
    expect(store.forget('resp_2', 150)).toBe(true)
    expect(store.forget('resp_2', 150)).toBe(false)
    expect(store.prune(150)).toBeUndefined()
    for (const table of ['answers', 'pieces', 'items'])
      expect(database.prepare(`SELECT count(*) AS n FROM ${table}`).get()).toEqual({ n: 0 })
  })

  it('[ASW3] a response has a maximum size and a conversation a maximum number of turns', () => {
    const store = open()
    expect(store.keep(response(1, undefined, 'x'.repeat(answerCharactersMax)), 100)).toBe(false)
    expect(store.body('resp_1', 1)).toBeUndefined()
    store.keep(response(0), 100)
    for (let n = 1; n <= 1_000; n++) store.keep(response(n, n - 1), 100)
    expect(store.previousResponse('resp_999', [], 1).turns).toHaveLength(1_000)
    expect(store.previousResponse('resp_1000', [], 1).turns).toBeUndefined()
  })
})

describe('idempotency', () => {
  const headers: [string, string][] = [['x-request-id', 'req_1']]

  it('[ASW4] one attempt runs per key, and its answer is replayed to the same request only', () => {
    const store = open()
    expect(store.replays.begin('r', 'd', 'a1', 100, 1)).toEqual({ kind: 'run' })
    expect(store.replays.begin('r', 'd', 'a2', 100, 2)).toEqual({ kind: 'running' })
    expect(store.replays.begin('r', 'other', 'a2', 100, 2)).toEqual({ kind: 'other-request' })
    store.replays.finish('r', 'a1', headers, '  {"ü": 1}', 1_000)
    expect(store.replays.begin('r', 'd', 'a2', 100, 999)).toEqual({ kind: 'answer', headers, text: '  {"ü": 1}' })
    expect(store.replays.begin('r', 'other', 'a2', 100, 999)).toEqual({ kind: 'other-request' })
    expect(store.replays.begin('r', 'd', 'a2', 2_000, 1_000)).toEqual({ kind: 'run' })
  })

  it('[ASW5] an attempt without an answer lets the next one run, and its late answer is ignored', () => {
    const store = open()
    store.replays.begin('r', 'd', 'a1', 100, 1)
    store.replays.abandon('r', 'a1')
    expect(store.replays.begin('r', 'd', 'a2', 100, 2)).toEqual({ kind: 'run' })
    expect(store.replays.begin('r', 'd', 'a3', 200, 100)).toEqual({ kind: 'run' })
    store.replays.finish('r', 'a2', headers, 'late', 1_000)
    store.replays.abandon('r', 'a2')
    expect(store.replays.begin('r', 'd', 'a4', 200, 150)).toEqual({ kind: 'running' })
    store.replays.finish('r', 'a3', headers, 'mine', 1_000)
    store.replays.abandon('r', 'a3')
    expect(store.replays.begin('r', 'd', 'a4', 200, 150)).toMatchObject({ kind: 'answer', text: 'mine' })
  })
})

describe('replayed answers', () => {
  it('[REPL1] a request whose stored answer was evicted runs again, and an empty answer is never returned', () => {
    const database = new DatabaseSync(':memory:')
    const store = new ResponsesStore(nodeSql(database), 1_000)
    expect(store.replays.begin('replay_a', 'd', 'first', 50, 1)).toEqual({ kind: 'run' })
    store.replays.finish('replay_a', 'first', [], 'x'.repeat(600), 100)
    expect(store.replays.begin('replay_a', 'd', 'again', 50, 2)).toEqual({
      kind: 'answer',
      headers: [],
      text: 'x'.repeat(600),
    })
    // Another answer evicts it.
    store.replays.begin('replay_b', 'd', 'other', 150, 2)
    store.replays.finish('replay_b', 'other', [], 'y'.repeat(600), 200)
    expect(store.replays.begin('replay_a', 'd', 'third', 50, 3)).toEqual({ kind: 'run' })
    expect(store.replays.begin('replay_b', 'd', 'again', 50, 3)).toMatchObject({
      kind: 'answer',
      text: 'y'.repeat(600),
    })
    // A running attempt has no answer yet, and is not evicted.
    expect(store.replays.begin('replay_a', 'd', 'fourth', 50, 4)).toEqual({ kind: 'running' })
  })

  it('[REPL2] items by id are read once per answer, and at most one conversation in total', () => {
    const reads: string[] = []
    const sql = nodeSql(new DatabaseSync(':memory:'))
    const store = new ResponsesStore({
      ...sql,
      all: (query, ...values) => {
        if (query.includes('FROM pieces')) reads.push(String(values[0]))
        return sql.all(query, ...values)
      },
    })
    const third = answerCharactersMax / 3
    const many = Array.from({ length: 500 }, (_, n) => ({ type: 'message', id: `m_${n}`, content: 'x' }))
    store.keep({ ...response(1), output: [...many, { id: 'last', content: 'y'.repeat(third) }] }, 100)
    const ids = [...many.map(({ id }) => id), 'none']
    expect(store.previousResponse(undefined, ids, 1).items).toEqual(many.map((item) => [item.id, item]))
    expect(reads).toEqual(['resp_1'])
    for (const n of [2, 3, 4]) store.keep(response(n, undefined, 'z'.repeat(third - 10_000)), 100)
    const { items } = store.previousResponse(undefined, ['msg_2', 'msg_3', 'msg_4'], 1)
    expect(items.length).toBe(1)
  })
})
