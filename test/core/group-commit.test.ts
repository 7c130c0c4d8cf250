import { describe, expect, it } from 'vitest'
import { GroupCommit } from '../../src/tenant/group-commit.ts'

function setUp() {
  const transactions: number[] = []
  let flush: (() => void) | undefined
  let asked = 0
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
      asked += 1
    },
  )
  const work = (value: string) => () => {
    depth += 1
    if (value === 'bad') throw new Error('bad')
    return value
  }
  return { commits, transactions, work, turn: () => flush?.(), asked: () => asked }
}

describe('group commit', () => {
  it('[TEN10] calls that come until the disk is free share one commit, and each gets its own answer', async () => {
    const { commits, transactions, work, turn } = setUp()
    const answers = ['a', 'b', 'c'].map((value) => commits.run(work(value)))
    expect(transactions).toEqual([])
    turn()
    expect(await Promise.all(answers)).toEqual(['a', 'b', 'c'])
    expect(transactions).toEqual([3])
  })

  it('[TEN11] the next commit is asked for once, whoever comes meanwhile', async () => {
    const { commits, transactions, work, turn, asked } = setUp()
    const first = commits.run(work('a'))
    turn()
    const second = [commits.run(work('b')), commits.run(work('c'))]
    expect(asked()).toBe(2)
    turn()
    expect(await Promise.all([first, ...second])).toEqual(['a', 'b', 'c'])
    expect(transactions).toEqual([1, 2])
  })

  it('[TEN12] a call that throws takes no other with it', async () => {
    const { commits, work, turn } = setUp()
    const answers = ['a', 'bad', 'c'].map((value) => commits.run(work(value)))
    turn()
    expect(await Promise.allSettled(answers)).toMatchObject([
      { status: 'fulfilled', value: 'a' },
      { status: 'rejected' },
      { status: 'fulfilled', value: 'c' },
    ])
  })
})
