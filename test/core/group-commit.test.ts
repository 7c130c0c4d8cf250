import { describe, expect, it } from 'vitest'
import { GroupCommit } from '../../src/tenant/group-commit.ts'

function setUp() {
  const ran: string[] = []
  let flushed: (() => void) | undefined
  let asked = 0
  const run = (kind: string) => {
    return <Result>(work: () => Result): Result => {
      const at = ran.length
      try {
        return work()
      } finally {
        ran.splice(at, ran.length - at, `${kind} ${ran.slice(at).join('')}`)
      }
    }
  }
  const commits = new GroupCommit({
    transaction: run('transaction'),
    statement: run('statement'),
    flushed: (then) => {
      flushed = then
      asked += 1
    },
  })
  const work = (value: string) => () => {
    ran.push(value)
    if (value === 'x') throw new Error('bad')
    return value
  }
  return { commits, ran, work, flush: () => flushed?.(), asked: () => asked }
}

describe('group commit', () => {
  it('[TEN10] calls that come until the disk is free share one commit, and each gets its own answer', async () => {
    const { commits, ran, work, flush } = setUp()
    const answers = ['a', 'b', 'c', 'd'].map((value) => commits.run(work(value), 'statement'))
    expect(ran).toEqual(['statement a'])
    flush()
    expect(await Promise.all(answers)).toEqual(['a', 'b', 'c', 'd'])
    expect(ran).toEqual(['statement a', 'transaction bcd'])
  })

  it('[TEN11] each commit’s flush is awaited once, and when nothing waits the next call runs at once', async () => {
    const { commits, ran, work, flush, asked } = setUp()
    const first = commits.run(work('a'))
    const second = [commits.run(work('b')), commits.run(work('c'))]
    expect(asked()).toBe(1)
    flush()
    expect(asked()).toBe(2)
    flush()
    expect(asked()).toBe(2)
    const last = commits.run(work('d'))
    expect(await Promise.all([first, ...second, last])).toEqual(['a', 'b', 'c', 'd'])
    expect(ran).toEqual(['transaction a', 'transaction bc', 'transaction d'])
  })

  it('[TEN12] a call that throws takes no other with it, alone or among others', async () => {
    const { commits, work, flush } = setUp()
    const answers = ['x', 'a', 'x', 'c'].map((value) => commits.run(work(value)))
    flush()
    flush()
    answers.push(commits.run(work('d')))
    expect(await Promise.allSettled(answers)).toMatchObject([
      { status: 'rejected' },
      { status: 'fulfilled', value: 'a' },
      { status: 'rejected' },
      { status: 'fulfilled', value: 'c' },
      { status: 'fulfilled', value: 'd' },
    ])
  })
})
