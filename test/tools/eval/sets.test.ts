import { readFileSync } from 'node:fs'
import { deflateSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import type { Answer, Case, Program } from './case.ts'
import { aime } from './sets/aime.ts'
import { livecode, pickledText } from './sets/livecode.ts'
import { long, score } from './sets/long.ts'

const sample = (name: string) => readFileSync(new URL(`./samples/${name}.jsonl`, import.meta.url), 'utf8')
const says = (content: string): Answer => ({ content, reasoning: '', calls: [], finish: 'stop' })
const judged = (one: Case | undefined, content: string) => one?.judge(says(content))

function programOf(one: Case | undefined, content: string): Program {
  const judgement = judged(one, content)
  if (!judgement || !('program' in judgement)) throw new Error('no program')
  return judgement.program
}

describe('question sets in their published forms', () => {
  it('[EVL18] problems with integer answers are read, as a number or a string', () => {
    const { items, faults } = aime(sample('aime'))
    expect(faults).toEqual([])
    expect(items.map((one) => one.task)).toEqual(['aime', 'aime', 'aime'])
    expect(judged(items[0], '84 marbles, so \\boxed{34}.')).toEqual({ right: true, score: 1 })
    expect(judged(items[1], '\\boxed{12}')).toEqual({ right: false, score: 0 })
    expect(judged(items[2], 'It is 7.')).toEqual({ right: true, score: 1 })
  })

  it('[EVL19] an unreadable line is reported with its number and reason, and the others are read', () => {
    const { items, faults } = aime(sample('malformed'))
    expect(items.length).toBe(2)
    expect(faults).toEqual([
      { line: 3, why: 'the answer is "0.5": an integer from 0 to 999 was expected' },
      { line: 4, why: 'not JSON' },
      { line: 5, why: 'there is no problem and no question' },
    ])
  })

  it('[EVL20] programming problems are read with public and private tests, compressed or not', () => {
    const { items, faults } = livecode(sample('livecode'))
    expect(faults).toEqual([])
    const stdin = programOf(items[0], '```python\nprint(3)\n```')
    expect(stdin).toEqual({
      language: 'python',
      code: 'print(3)\n',
      functionName: null,
      tests: [
        { input: '1 2\n', output: '3\n' },
        { input: '-5 8\n', output: '3\n' },
      ],
    })
    expect(items[1]?.messages[0]?.content).toContain('def largestGap')
    expect(programOf(items[1], '```js\nlet a\n```')).toMatchObject({
      language: 'javascript',
      functionName: 'largestGap',
    })
    expect(judged(items[0], '```python\nnever closed')).toEqual({ right: false, score: 0 })
  })

  it('[EVL21] unreadable tests refuse their line, and a pickle is never executed', () => {
    const row = (fields: object) => JSON.stringify({ question_content: 'q', ...fields })
    const reasons = livecode(
      [
        row({}),
        row({ public_test_cases: '[{"input": 1}]' }),
        row({ private_test_cases: deflateSync('nothing').toString('base64') }),
        row({
          public_test_cases: '[{"input": "1", "output": "1", "testtype": "functional"}]',
          metadata: '{"func_name": "a b"}',
        }),
      ].join('\n'),
    ).faults.map((fault) => fault.why)
    expect(reasons).toEqual([
      'there are no test cases',
      'the test cases are no list of input, output and testtype',
      'the test cases are neither JSON text nor a packed string',
      'functional tests need metadata.func_name',
    ])
    expect(pickledText(Buffer.from('80049509000000000000008c05c3a9743a31942e', 'hex'))).toBe('ét:1')
    expect(() => pickledText(Buffer.from('80047d942e', 'hex'))).toThrow('not a pickled string')
  })

  it('[EVL22] long texts are scored by the method of their line or the flag', () => {
    const { items, faults } = long(sample('long'))
    expect(faults).toEqual([])
    expect(items[0]?.messages[0]?.content).toContain('moonlit harbour')
    expect(judged(items[0], 'The password is "Moonlit Harbour".')).toEqual({ right: true, score: 1 })
    expect(judged(items[1], '4471')).toEqual({ right: false, score: 0.5 })
    expect(judged(items[1], '9023 and 4471')).toEqual({ right: true, score: 1 })
    expect(judged(items[2], 'Because her boat had a hole.')).toMatchObject({ right: true })
    expect(judged(long(sample('long'), 'contains').items[2], 'A hole.')).toEqual({ right: false, score: 0 })
    expect(score(says('harbours'), ['harbour'], 'contains').right).toBe(false)
    expect(long('{"context": "a", "question": "b", "answers": []}').faults[0]?.why).toBe('there are no answers')
  })

  it('[EVL23] a question is identified by its text', () => {
    const ids = (text: string) => aime(text).items.map((one) => one.id)
    const both = ids('{"problem": "p", "answer": 1}\n{"problem": "q", "answer": 1}')
    expect(new Set(both).size).toBe(2)
    expect(both).toEqual([...ids('{"problem": "p", "answer": "1"}'), ...ids('{"question": "q", "answer": 2}')])
  })
})
