/** Histories as clients send them, by name, and random ones. */
import { pick, type Random, randomOf } from './seeded.ts'

type Message = Record<string, unknown>
export type HistoryCase = readonly [name: string, messages: Message[]]

const system = (content: unknown, role = 'system') => ({ role, content })
const user = (content: unknown) => ({ role: 'user', content })
const answer = (content: unknown, more: Message = {}) => ({ role: 'assistant', content, ...more })
const call = (id: string, json = '{"a": 1}') => ({
  id,
  type: 'function',
  function: { name: 'look_up', arguments: json },
})
const calls = (...ids: string[]) => answer('', { tool_calls: ids.map((id) => call(id)) })
const result = (id: string, content: unknown = `result of ${id}`) => ({ role: 'tool', tool_call_id: id, content })
const text = (text: string) => ({ type: 'text', text })
const thinking = (text: string, closed?: boolean) => ({ type: 'thinking', thinking: text, closed })

/** Histories that mistral-common refuses as they are, and thinking in every place. */
export const historyCases: readonly HistoryCase[] = [
  ['system after an answer', [user('a'), answer('b'), system('c'), user('d')]],
  ['developer after an answer', [user('a'), answer('b'), system('c', 'developer'), user('d')]],
  ['system after a result', [user('a'), calls('x'), result('x'), system('c'), user('d')]],
  ['system after a result, then an answer', [user('a'), calls('x'), result('x'), system('c'), answer('d'), user('e')]],
  ['system at the end', [user('a'), answer('b'), system('c')]],
  ['two systems after an answer', [user('a'), answer('b'), system('c'), system('d'), user('e'), user('f')]],
  ['system between user messages', [user('a'), system('b'), user('c')]],
  ['system between a call and its result', [user('a'), calls('x'), system('c'), result('x')]],
  ['empty answer', [user('a'), answer(''), user('b')]],
  ['null answer', [user('a'), answer(null), user('b')]],
  ['answer of an empty part', [user('a'), answer([text('')]), user('b')]],
  ['blank answer', [user('a'), answer('   '), user('b')]],
  ['only an empty answer', [answer('')]],
  ['empty prefix', [user('a'), answer('', { prefix: true })]],
  ['prefix', [user('a'), answer('b ', { prefix: true })]],
  ['prefix in the middle', [user('a'), answer('b', { prefix: true }), user('c')]],
  ['prefix with a call', [user('a'), { ...calls('x'), prefix: true }]],
  ['prefix alone', [answer('b', { prefix: true })]],
  ['call without a result', [user('a'), calls('x'), user('b')]],
  ['call without a result at the end', [user('a'), calls('x')]],
  ['one of two results', [user('a'), calls('x', 'y'), result('y'), answer('b'), user('c')]],
  ['result after a user message', [user('a'), calls('x'), user('b'), result('x')]],
  ['result after the next answer', [user('a'), calls('x'), answer('b'), result('x')]],
  ['repeated result', [user('a'), calls('x'), result('x'), result('x'), user('b')]],
  ['second result', [user('a'), calls('x'), result('x'), result('x', 'other'), user('b')]],
  ['repeated call ids', [user('a'), calls('x', 'x'), result('x', '1'), result('x', '2'), user('b')]],
  ['call ids of an earlier turn', [user('a'), calls('x'), result('x'), calls('x'), result('x', 'again'), user('b')]],
  ['empty call ids', [user('a'), calls('', ''), result('', '1'), result('', '2')]],
  ['result without a call', [user('a'), result('x'), answer('b'), user('c')]],
  ['result with an unknown id', [user('a'), calls('x'), result('y'), user('c')]],
  ['result before its call', [user('a'), result('x'), calls('x'), user('c')]],
  ['result first', [result('x'), user('c')]],
  ['two turns with calls, then both results', [user('a'), calls('x'), calls('y'), result('y'), result('x')]],
  ['results in another order', [user('a'), calls('x', 'y'), result('y'), result('x')]],
  ['answer at the end', [user('a'), answer('b')]],
  ['two answers at the end', [user('a'), answer('b'), answer('c')]],
  ['answer first', [answer('a'), user('b')]],
  ['calls first', [calls('x'), result('x'), user('b')]],
  ['calls without a user message', [system('s'), calls('x'), result('x')]],
  ['system only', [system('s')]],
  ['thinking', [user('a'), answer('b', { reasoning_content: 'hm' }), user('c')]],
  ['empty thinking', [user('a'), answer('b', { reasoning_content: '' }), user('c')]],
  ['thinking only', [user('a'), answer(null, { reasoning: 'hm' }), user('c')]],
  ['thinking chunks', [user('a'), answer([thinking('b'), thinking('c', true), text('d ')]), user('e')]],
  ['late thinking', [user('a'), answer([text('b'), thinking('c'), text('d')]), user('e')]],
  ['open thinking', [user('a'), answer([thinking('b', false), text('c')]), user('e')]],
  ['empty thinking chunk', [user('a'), answer([thinking('')]), user('e')]],
  ['open thinking as a prefix', [user('a'), answer([text('b'), thinking('c', false)], { prefix: true })]],
  ['answers with thinking', [user('a'), answer('b'), answer('c', { reasoning: 'd' }), answer('e'), user('f')]],
  [
    'calls with thinking',
    [user('a'), { ...calls('x'), reasoning: 'hm' }, { ...calls('y'), reasoning: 'so' }, result('y'), result('x')],
  ],
]

const ids = ['call_1', 'call_2', 'abcdefghi', 'toolu_01A9xYzLongerThanNine', 'x']
const texts = ['', ' ', 'Hello', 'two  words ', 'naïve ☕', '[INST]', 'line\n']

/** Random histories, hostile and not. */
export function randomHistories(count: number, seed: number): HistoryCase[] {
  const random = randomOf(seed)
  return Array.from({ length: count }, (_, index) => {
    const length = 1 + random(14)
    const sound = random(2) === 0
    const messages = Array.from({ length }, () => randomMessage(random))
    return [`random ${index}`, sound ? answered(messages) : messages] as const
  })
}

function randomMessage(random: Random): Message {
  const some = () => pick(random, texts)
  switch (random(9)) {
    case 0:
      return system(random(4) === 0 ? [text(some()), text(some())] : some(), pick(random, ['system', 'developer']))
    case 1:
    case 2:
    case 3:
      return user(random(4) === 0 ? [text(some()), text(some())] : some())
    case 4:
    case 5:
      return result(pick(random, ids), random(4) === 0 ? [text(some()), text(some())] : some())
    default:
      return randomAnswer(random)
  }
}

function randomAnswer(random: Random): Message {
  const some = () => pick(random, texts)
  const part = () => (random(2) === 0 ? text(some()) : thinking(some(), pick(random, [true, true, undefined, false])))
  const content = pick(random, [some(), some(), null, Array.from({ length: random(4) }, part)])
  const parts = Array.isArray(content)
  const count = random(2) === 0 ? 0 : 1 + random(3)
  return answer(content, {
    ...(count > 0 && { tool_calls: Array.from({ length: count }, () => call(pick(random, ids))) }),
    ...(!parts && random(3) === 0 && { [pick(random, ['reasoning', 'reasoning_content'])]: some() }),
    ...(random(8) === 0 && { prefix: true }),
  })
}

/** A history that mistral-common mostly accepts: each call has its results, and a user message comes last. */
function answered(messages: readonly Message[]): Message[] {
  const begun = messages.flatMap((message, index) => {
    if (message.role === 'tool' || (message.role !== 'user' && message.role !== 'assistant' && index > 1)) return []
    const { prefix: _, ...kept } = message
    const wanted = (kept.tool_calls ?? []) as { id: string }[]
    const unlike = wanted.map((each, at) => ({ ...each, id: `${each.id}${at}` }))
    return [wanted.length > 0 ? { ...kept, tool_calls: unlike } : kept, ...unlike.map(({ id }) => result(id))]
  })
  return [...begun, user('and?')]
}
