import { describe, expect, it } from 'vitest'
import { splitOf } from '../toy-model/random.ts'
import type { Answer, Case } from './case.ts'
import { countsTo } from './tasks/count.ts'
import { knows } from './tasks/product.ts'
import { listsOf, staysOn } from './tasks/subject.ts'
import { builtIn, taskNames } from './tasks/tasks.ts'
import { same } from './tasks/tools.ts'

const says = (content: string, more: Partial<Answer> = {}): Answer => ({
  content,
  reasoning: '',
  calls: [],
  finish: 'stop',
  ...more,
})

const right = (one: Case | undefined, answer: Answer): boolean => {
  const judgement = one?.judge(answer)
  if (!judgement || 'program' in judgement) throw new Error('no verdict')
  return judgement.right
}

const question = (one: Case): string => String(one.messages[0]?.content)

describe('built-in tasks', () => {
  it('[EVL9] a seed selects its cases, another seed others, and no case occurs twice', () => {
    for (const task of taskNames) {
      const ids = builtIn(task, 30, 1).map((one) => one.id)
      expect(ids.length, task).toBeGreaterThan(20)
      expect(new Set(ids).size, task).toBe(ids.length)
      expect(
        builtIn(task, 30, 1).map((one) => one.id),
        task,
      ).toEqual(ids)
      expect(
        builtIn(task, 30, 2).map((one) => one.id),
        task,
      ).not.toEqual(ids)
    }
    expect(() => builtIn('poems', 1, 1)).toThrow('no task poems')
  })

  it('[EVL10] numbers come from the split that the toy model was never trained on', () => {
    for (const one of builtIn('sums', 40, 3)) {
      const [a, b] = question(one).match(/\d+/g) ?? []
      expect(splitOf(`${a}+${b}`)).toBe('held')
    }
    for (const one of builtIn('products', 40, 3)) {
      const [a, b] = question(one).match(/\d+/g) ?? []
      expect(splitOf(`${a}*${b}`)).toBe('held')
    }
  })

  it('[EVL11] the last number alone decides whether a sum or product is correct', () => {
    for (const [task, work] of [
      ['sums', (a: number, b: number) => a + b],
      ['products', (a: number, b: number) => a * b],
    ] as const) {
      for (const one of builtIn(task, 20, 5)) {
        const [a = 0, b = 0] = (question(one).match(/\d+/g) ?? []).map(Number)
        expect(right(one, says(`${a} and ${b} give ${work(a, b)}.`))).toBe(true)
        expect(right(one, says(`${work(a, b)} is not ${a + 1}`))).toBe(false)
        expect(right(one, says('', { reasoning: String(work(a, b)) }))).toBe(false)
      }
    }
  })

  it('[EVL12] calls must match by name and arguments, in any order, none missing and none extra', () => {
    const weather = (city: string) => ({ name: 'get_weather', arguments: JSON.stringify({ city }) })
    const wanted = (city: string) => ({ kind: { tool: { name: 'get_weather' } }, arguments: { city } })
    expect(same([weather('Oslo'), weather('LIMA')], [wanted('Lima'), wanted('Oslo')])).toBe(true)
    expect(same([weather('Lima'), weather('Oslo')], [wanted('Oslo'), wanted('Lima')])).toBe(true)
    expect(same([weather('Oslo')], [wanted('Oslo'), wanted('Lima')])).toBe(false)
    expect(same([weather('Oslo'), weather('Oslo')], [wanted('Oslo')])).toBe(false)
    expect(same([{ name: 'get_time', arguments: '{"city":"Oslo"}' }], [wanted('Oslo')])).toBe(false)
    expect(same([{ name: 'get_weather', arguments: '{"city":"Oslo","unit":"c"}' }], [wanted('Oslo')])).toBe(false)
    expect(same([{ name: 'get_weather', arguments: 'Oslo' }], [wanted('Oslo')])).toBe(false)
    for (const one of builtIn('tools', 20, 1)) {
      expect(one.tools?.length).toBe(3)
      expect(right(one, says('I cannot call tools.'))).toBe(false)
    }
  })

  it('[EVL13] an answer to a tool result contains all of it and calls no tool again', () => {
    for (const one of builtIn('tools-result', 20, 1)) {
      const result = JSON.parse(String(one.messages.at(-1)?.content)) as { status: string; count: number }
      expect(right(one, says(`It is ${result.status}, and there are ${result.count}.`))).toBe(true)
      expect(right(one, says(`It is ${result.status}.`))).toBe(false)
      expect(right(one, says(`It is ${result.status}, ${result.count}0.`))).toBe(false)
      const again = { calls: [{ name: 'get_weather', arguments: '{}' }] }
      expect(right(one, says(`${result.status} ${result.count}`, again))).toBe(false)
    }
  })

  it('[EVL14] a story names its subject throughout and comes to an end', () => {
    const story = 'A walrus lived here. It swam. The walrus sang. It slept. Then the walrus woke. The walrus was glad.'
    expect(staysOn('walrus', says(story))).toBe(true)
    expect(staysOn('walrus', says(story, { finish: 'length' }))).toBe(false)
    expect(
      staysOn('walrus', says('A walrus lived here. It sang. A fox came. The fox ate. The fox ran. The fox slept.')),
    ).toBe(false)
    expect(staysOn('walrus', says('Walrus.'))).toBe(false)
  })

  it('[EVL15] a list has the requested number of different items', () => {
    expect(listsOf('kite', 2, says('1. Fly a kite.\n2. Draw it.'))).toBe(true)
    expect(listsOf('kite', 2, says('1. Fly a kite.\n2. Fly a kite.'))).toBe(false)
    expect(listsOf('kite', 3, says('1. Fly a kite.\n2. Draw it.'))).toBe(false)
    expect(listsOf('kite', 2, says('1. Cook rice.\n2. Eat rice.'))).toBe(false)
  })

  it('[EVL16] counting reaches N, skips nothing and stops there', () => {
    expect(countsTo(4, says('1 2 3 4.'))).toBe(true)
    expect(countsTo(4, says('1, 2, 3, 4'))).toBe(true)
    expect(countsTo(3, says('1,2,3'))).toBe(true)
    expect(countsTo(4, says('1 2 4'))).toBe(false)
    expect(countsTo(4, says('1 2 3 4 5'))).toBe(false)
    expect(countsTo(4, says('1 2 3 4', { finish: 'length' }))).toBe(false)
  })

  it('[EVL17] admitting not to know is correct, and inventing an answer is wrong', () => {
    for (const one of builtIn('unknown', 20, 1)) {
      expect(right(one, says('I do not know that.'))).toBe(true)
      expect(right(one, says('I don’t have information about that.'))).toBe(true)
      expect(right(one, says('It is Jonas, as everyone says.'))).toBe(false)
    }
  })

  it('[EVL60] an answer about the product has an expected word and does not claim ignorance', () => {
    expect(knows(['No', 'processor'], says('No. It runs on a CPU.'))).toBe(true)
    expect(knows(['.tramontane'], says('In the folder .tramontane/.'))).toBe(true)
    expect(knows(['No'], says('I know nothing of it.'))).toBe(false)
    expect(knows(['add'], says('I do not know that. I can add.'))).toBe(false)
    expect(knows(['add'], says('I can add', { finish: 'length' }))).toBe(false)
  })
})
