/** Tool calls: the right one of three with the right arguments, an answer from a tool's result, two calls at once. */
import type { Random } from '../../toy-model/random.ts'
import { type Answer, type Call, type Case, caseOf, type Message, type Tool, verdict } from '../case.ts'
import { CITIES, code, NAMES } from './names.ts'

/** `{}` in a phrasing stands for the value; every tool takes one or two values. */
interface Kind {
  tool: Tool
  values: readonly { key: string; draw: (random: Random) => string | number }[]
  asks: readonly string[]
}

const city = (random: Random) => random.pick(CITIES)
const person = (random: Random) => random.pick(NAMES)

function kind(
  name: string,
  description: string,
  values: Kind['values'],
  types: readonly string[],
  asks: readonly string[],
): Kind {
  const properties = Object.fromEntries(values.map(({ key }, index) => [key, { type: types[index] ?? 'string' }]))
  const parameters = { type: 'object', properties, required: values.map(({ key }) => key) }
  return { tool: { name, description, parameters }, values, asks }
}

const KINDS: readonly Kind[] = [
  kind(
    'get_weather',
    'Get the weather for a city',
    [{ key: 'city', draw: city }],
    [],
    ['What is the weather in {}?', 'How is the weather in {}?', 'Tell me the weather in {}.'],
  ),
  kind(
    'get_time',
    'Get the local time of a city',
    [{ key: 'city', draw: city }],
    [],
    ['What time is it in {}?', 'Tell me the time in {}.'],
  ),
  kind(
    'send_email',
    'Send an email to a person',
    [{ key: 'to', draw: person }],
    [],
    ['Send an email to {}.', 'Please write an email to {}.'],
  ),
  kind(
    'track_order',
    'Track an order',
    [{ key: 'order_id', draw: code }],
    [],
    ['Where is order {}?', 'Track order {}.'],
  ),
  kind(
    'find_train',
    'Find a train to a city',
    [{ key: 'destination', draw: city }],
    [],
    ['Find a train to {}.', 'Which train goes to {}?'],
  ),
  kind(
    'cancel_booking',
    'Cancel the reservation',
    [{ key: 'id', draw: code }],
    [],
    ['Cancel the reservation with id {}.', 'Please cancel the reservation with the id {}.'],
  ),
  kind('call_person', 'Call a person', [{ key: 'name', draw: person }], [], ['Call {}.', 'Please phone {}.']),
  kind(
    'delete_folder',
    'Delete the folder',
    [{ key: 'owner', draw: person }],
    [],
    ['Delete the folder with owner {}.', 'Please delete the folder with the owner {}.'],
  ),
  kind(
    'print_document',
    'Print the document',
    [
      { key: 'title', draw: person },
      { key: 'count', draw: (random) => random.integer(2, 60) },
    ],
    ['string', 'integer'],
    ['Print the document with title {} and count {}.', 'Please print the document with title {}, count {}.'],
  ),
  kind(
    'order_ticket',
    'Order the ticket',
    [
      { key: 'city', draw: city },
      { key: 'days', draw: (random) => random.integer(2, 30) },
    ],
    ['string', 'integer'],
    ['Order the ticket for city {} for days {}.', 'Can you order the ticket with city {} and days {}?'],
  ),
  kind(
    'read_file',
    'Read a file',
    [{ key: 'path', draw: (random) => `${random.pick(NAMES).toLowerCase()}.${random.pick(['txt', 'md', 'json'])}` }],
    [],
    ['Read the file {}.', 'What is in the file {}?'],
  ),
  kind(
    'book_hotel',
    'Book a hotel in a city',
    [{ key: 'city', draw: city }],
    [],
    ['Book a hotel in {}.', 'I need a hotel in {}.'],
  ),
]

interface Wanted {
  kind: Kind
  ask: string
  arguments: Record<string, string | number>
}

export function toolCall(random: Random): Case {
  const kinds = random.sample(KINDS, 3)
  const wanted = want(random, random.pick(kinds))
  return caseOf(
    'tools',
    [{ role: 'user', content: wanted.ask }],
    ({ calls }) => verdict(same(calls, [wanted])),
    tools(kinds),
  )
}

/** Two cities, or two different kinds of things, in one question: one call per thing, in any order, in one turn. */
export function parallelCalls(random: Random): Case {
  const kinds = random.sample(KINDS, 3)
  const [first, second] = random.sample(kinds, 2).map((each) => want(random, each))
  if (!first || !second) throw new Error('fewer than two tools')
  const ask = `${first.ask.replace(/[.?]$/, '')} and ${second.ask.slice(0, 1).toLowerCase()}${second.ask.slice(1)}`
  const judge = ({ calls }: Answer) => verdict(same(calls, [first, second]))
  return caseOf('tools-parallel', [{ role: 'user', content: ask }], judge, tools(kinds))
}

/** The call was made and has a result: the answer must contain all of it, and must not call a tool again. */
export function toolResult(random: Random): Case {
  const kinds = random.sample(KINDS, 3)
  const wanted = want(random, random.pick(kinds))
  const values = {
    status: random.pick(['ready', 'late', 'open', 'closed', 'cloudy', 'sunny']),
    count: random.integer(2, 400),
  }
  const id = 'call00001'
  const call = {
    id,
    type: 'function' as const,
    function: { name: wanted.kind.tool.name, arguments: JSON.stringify(wanted.arguments) },
  }
  const messages: Message[] = [
    { role: 'user', content: wanted.ask },
    { role: 'assistant', content: null, tool_calls: [call] },
    { role: 'tool', tool_call_id: id, content: JSON.stringify(values) },
  ]
  const says = (content: string, value: string | number) => new RegExp(`(?<!\\w)${value}(?!\\w)`, 'i').test(content)
  const judge = ({ content, calls }: Answer) =>
    verdict(calls.length === 0 && Object.values(values).every((value) => says(content, value)))
  return caseOf('tools-result', messages, judge, tools(kinds))
}

function want(random: Random, one: Kind): Wanted {
  const drawn = one.values.map(({ key, draw }) => [key, draw(random)] as const)
  const ask = drawn.reduce((text, [, value]) => text.replace('{}', String(value)), random.pick(one.asks))
  return { kind: one, ask, arguments: Object.fromEntries(drawn) }
}

function tools(kinds: readonly Kind[]): Tool[] {
  return kinds.map(({ tool }) => tool)
}

/** Compares calls in any order; words may differ in case, numbers may be text. */
export function same(
  calls: readonly Call[],
  wanted: readonly { kind: { tool: { name: string } }; arguments: Wanted['arguments'] }[],
): boolean {
  const made = calls.map((call) => canonical(call.name, parsed(call.arguments))).toSorted()
  const right = wanted.map((each) => canonical(each.kind.tool.name, each.arguments)).toSorted()
  return JSON.stringify(made) === JSON.stringify(right)
}

function canonical(name: string, values: Record<string, unknown> | null): string {
  if (!values) return `${name}: no JSON object`
  return JSON.stringify([
    name,
    Object.entries(values)
      .map(([key, value]) => [key, String(value).trim().toLowerCase()])
      .toSorted(),
  ])
}

function parsed(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : null
  } catch {
    return null
  }
}
