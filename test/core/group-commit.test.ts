import { describe, expect, it } from 'vitest'
import { GroupCommit } from '../../src/tenant/group-commit.ts'

function setUp() {
  const transactions: number[] = []
  let flush: (() => void) | undefined
  let depth = 0
  const commits = new GroupCommit(
    (work) => {
      depth = 0
      try {
        return work()
      } finally {
        transactions.push(depth)
      }
    },
    (later) => {
      flush = later
    },
  )
  const work = (value: string) => () => {
    depth += 1
    if (value === 'bad') throw new Error('bad')
    return value
  }
  return { commits, transactions, work, turn: () => flush?.() }
}

describe('group commit', () => {
  it('[TEN10] a call that comes alone is committed at once, and keeps nobody waiting', async () => {
    const { commits, transactions, work } = setUp()
    expect(await commits.run(work('a'), false)).toBe('a')
    expect(transactions).toEqual([1])
  })

  it('[TEN11] calls of one turn share one commit, and each gets its own answer', async () => {
    const { commits, transactions, work, turn } = setUp()
    const answers = ['a', 'b', 'c'].map((value) => commits.run(work(value), true))
    expect(transactions).toEqual([])
    turn()
    expect(await Promise.all(answers)).toEqual(['a', 'b', 'c'])
    expect(transactions).toEqual([3])
  })

  it('[TEN12] a call that throws takes no other with it', async () => {
    const { commits, work, turn } = setUp()
    const answers = ['a', 'bad', 'c'].map((value) => commits.run(work(value), true))
    turn()
    expect(await Promise.allSettled(answers)).toMatchObject([
      { status: 'fulfilled', value: 'a' },
      { status: 'rejected' },
      { status: 'fulfilled', value: 'c' },
    ])
  })

  it('[TEN13] a call that comes while others wait joins them: order is kept', async () => {
    const { commits, transactions, work, turn } = setUp()
    const answers = [commits.run(work('a'), true), commits.run(work('b'), false)]
    turn()
    expect(await Promise.all(answers)).toEqual(['a', 'b'])
    expect(transactions).toEqual([2])
  })
})
