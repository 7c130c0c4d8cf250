import type { Call, Exchange, Json, Tool } from '../chat.ts'
import { drawn, type Random, type Split } from '../random.ts'
import { capital, city, code, inventedWord, matter, name } from '../words.ts'

/**
 * Tool calls. A tool here is a verb, an object and one or two parameters; the question says the verb, the object and
 * the values, so the right tool is found by matching and the arguments by copying. Objects are half invented, so that
 * nothing about a tool can be known by heart.
 */
type Parameter = { name: string; value: Json; said: string; schema: { readonly [key: string]: Json } }
type Wanted = { tool: Tool; call: Call; ask: string }

const VERBS =
  'get find list create delete update send open close start stop check book play show cancel read save copy move count lock order pay print rename share sort track translate'.split(
    ' ',
  )
const OBJECTS =
  'weather time ticket room song user file note email order invoice table flight train hotel meeting task message photo video report recipe price stock event door light heater account card package map route contact document folder page reminder alarm lesson'.split(
    ' ',
  )
const WORDED = ['city', 'name', 'title', 'owner', 'place', 'person', 'query', 'topic', 'label', 'country', 'user']
const CODED = ['id', 'code', 'number', 'key']
const NUMBERED = ['count', 'days', 'amount', 'level', 'size', 'hours', 'limit', 'minutes']
/** Values with points, colons and hyphens in them. */
const WRITTEN: { readonly [name: string]: (random: Random, split: Split) => string } = {
  path: file,
  file,
  clock: (random) => `${random.integer(0, 23)}:${random.integer(10, 59)}`,
  date: (random) => `20${random.integer(10, 39)}-${random.integer(10, 12)}-${random.integer(10, 30)}`,
  address: (random, split) => `${name(random, split)}@${inventedWord(random, split)}.com`.toLowerCase(),
}
const CHOSEN: { readonly [name: string]: readonly string[] } = {
  unit: ['celsius', 'fahrenheit'],
  format: ['pdf', 'text', 'html'],
  colour: ['red', 'green', 'blue'],
  mode: ['fast', 'slow'],
}

function parameter(random: Random, split: Split, index: number): Parameter {
  const kind = index === 0 ? random.integer(0, 12) : random.integer(3, 13)
  if (kind < 5) {
    const key = random.pick(WORDED)
    const value = wordedValue(key, random, split)
    return { name: key, value, said: said(random, key, value, index), schema: { type: 'string' } }
  }
  if (kind < 7) {
    const key = random.pick(CODED)
    const value = code(random)
    return { name: key, value, said: said(random, key, value, index), schema: { type: 'string' } }
  }
  if (kind < 9) {
    const key = random.pick(Object.keys(WRITTEN))
    const value = WRITTEN[key]?.(random, split) ?? ''
    return { name: key, value, said: said(random, key, value, index), schema: { type: 'string' } }
  }
  if (kind < 12) {
    const key = random.pick(NUMBERED)
    const value = random.integer(1, random.pick([9, 99, 999]))
    return {
      name: key,
      value,
      said: said(random, key, String(value), index),
      schema: { type: random.pick(['integer', 'number']) },
    }
  }
  const key = random.pick(Object.keys(CHOSEN))
  const choices = CHOSEN[key] ?? []
  const value = random.pick(choices)
  return { name: key, value, said: said(random, key, value, index), schema: { type: 'string', enum: [...choices] } }
}

function file(random: Random, split: Split): string {
  return `${name(random, split).toLowerCase()}.${random.pick(['txt', 'md', 'ts', 'py', 'json'])}`
}

function wordedValue(key: string, random: Random, split: Split): string {
  if (['city', 'place', 'country'].includes(key)) return city(random, split)
  if (['query', 'topic', 'title', 'label'].includes(key)) {
    const word = matter(random, split)
    return random.chance(0.4) ? `${matter(random, split)} ${word}` : word
  }
  return name(random, split)
}

/** An "and" may join two values as well as two tasks: only the tools tell which. */
function said(random: Random, key: string, value: string, index: number): string {
  if (index > 0 && random.chance(0.5)) {
    return random.pick([`and ${key} ${value}`, `and the ${key} ${value}`, `and with ${key} ${value}`])
  }
  return random.pick([
    `with ${key} ${value}`,
    `for ${key} ${value}`,
    `, ${key} ${value}`,
    `with the ${key} ${value}`,
    `for the ${key} ${value}`,
  ])
}

/** Parameters are described or not, as clients do; an example in a description is a value that must not be copied. */
function description(random: Random): (key: string) => { description?: string } {
  const kind = random.integer(0, 9)
  if (kind < 6) return () => ({})
  if (kind < 8) return (key) => ({ description: `The ${key}` })
  const example = name(random, 'train')
  return (key) => ({ description: `The ${key}, e.g. ${example}` })
}

function toolOf(verb: string, object: string, parameters: readonly Parameter[], random: Random): Tool {
  const describe = description(random)
  const properties: { [key: string]: Json } = {}
  for (const p of parameters) properties[p.name] = { ...p.schema, ...describe(p.name) }
  return {
    name: `${verb}_${object}`,
    description: random.pick([
      `${capital(verb)} the ${object}`,
      `${capital(verb)} ${object}`,
      `Use this to ${verb} the ${object}.`,
    ]),
    parameters: { type: 'object', properties, required: parameters.map((p) => p.name) },
  }
}

function general(random: Random, split: Split): Wanted {
  const make = (): string[] => [
    random.pick(VERBS),
    random.chance(0.6) ? random.pick(OBJECTS) : inventedWord(random, 'train'),
  ]
  const [verb = '', object = ''] = drawn(split, make, (pair) => pair.join('_'))
  const drawnParameters = Array.from({ length: random.pick([1, 1, 1, 1, 1, 2, 2, 2, 2, 3]) }, (_, index) =>
    parameter(random, split, index),
  )
  const parameters = drawnParameters.filter(
    ({ name: key }, index) => drawnParameters.findIndex((other) => other.name === key) === index,
  )
  return wanted(
    toolOf(verb, object, parameters, random),
    parameters,
    `${verb} ${random.pick(['the', 'the', 'the', 'my', 'this'])} ${object} ${parameters.map((p) => p.said).join(' ')}`,
  )
}

function wanted(tool: Tool, parameters: readonly Parameter[], phrase: string): Wanted {
  const ask = phrase.replaceAll(' ,', ',')
  return {
    tool,
    ask,
    call: { name: tool.name, arguments: Object.fromEntries(parameters.map((p) => [p.name, p.value])) },
  }
}

/** The tools that people try first, asked in ordinary words. */
type Everyday = {
  name: string
  description: string
  key: string
  value: (random: Random, split: Split) => string
  asks: readonly string[]
}

const EVERYDAY: readonly Everyday[] = [
  {
    name: 'get_weather',
    description: 'Get the weather for a city',
    key: 'city',
    value: city,
    asks: [
      'what is the weather in {}',
      'how is the weather in {}',
      'is it raining in {}',
      'tell me the weather in {}',
      'how warm is it in {}',
    ],
  },
  {
    name: 'get_current_weather',
    description: 'Get the current weather in a given location',
    key: 'location',
    value: city,
    asks: ['what is the weather in {}', 'what is the weather like in {}', 'how cold is it in {}'],
  },
  {
    name: 'get_time',
    description: 'Get the local time of a city',
    key: 'city',
    value: city,
    asks: ['what time is it in {}', 'tell me the time in {}', 'what is the time in {}'],
  },
  {
    name: 'search_web',
    description: 'Search the web',
    key: 'query',
    value: matter,
    asks: ['search the web for {}', 'find pages about {}', 'look for {} on the web'],
  },
  {
    name: 'send_email',
    description: 'Send an email to a person',
    key: 'to',
    value: name,
    asks: ['send an email to {}', 'write an email to {}', 'email {}'],
  },
  {
    name: 'track_order',
    description: 'Track an order',
    key: 'order_id',
    value: code,
    asks: ['where is order {}', 'track order {}', 'what is the state of order {}'],
  },
  {
    name: 'get_population',
    description: 'Get the population of a city',
    key: 'city',
    value: city,
    asks: ['how many people live in {}', 'what is the population of {}'],
  },
  {
    name: 'play_music',
    description: 'Play music by a person',
    key: 'artist',
    value: name,
    asks: ['play music by {}', 'play something by {}', 'i want to hear {}'],
  },
  {
    name: 'read_file',
    description: 'Read a file',
    key: 'path',
    value: file,
    asks: ['read the file {}', 'show me the file {}', 'what is in {}', 'open {}'],
  },
  {
    name: 'call_person',
    description: 'Call a person',
    key: 'name',
    value: name,
    asks: ['call {}', 'please phone {}', 'ring {}'],
  },
  {
    name: 'book_hotel',
    description: 'Book a hotel in a city',
    key: 'city',
    value: city,
    asks: ['book a hotel in {}', 'i need a hotel in {}', 'find me a room in {}'],
  },
  {
    name: 'find_train',
    description: 'Find a train to a city',
    key: 'destination',
    value: city,
    asks: ['find a train to {}', 'which train goes to {}', 'i want to take a train to {}'],
  },
]

function everyday(random: Random, split: Split): Wanted {
  const one = random.pick(EVERYDAY)
  const value = one.value(random, split)
  const p = { name: one.key, value, said: '', schema: { type: 'string' } }
  const properties = { [one.key]: { ...p.schema, ...description(random)(one.key) } }
  const required = random.chance(0.8) ? { required: [one.key] } : {}
  const closed = random.chance(0.15) ? { additionalProperties: false } : {}
  const parameters = { type: 'object', properties, ...required, ...closed }
  const tool = { name: one.name, description: one.description, parameters }
  return wanted(tool, [p], random.pick(one.asks).replace('{}', value))
}

const make = (random: Random, split: Split): Wanted => (random.chance(0.5) ? everyday : general)(random, split)

/** One thing asked: one call, its result, an answer made of the result; sometimes the same for something else. */
export function toolCall(random: Random, split: Split): Exchange {
  const one = make(random, split)
  const parts = dialogue(random, split, sentence(one.ask, random), [one])
  if (!random.chance(0.15) || !isEveryday(one.tool)) return { tools: among([one.tool], random, split), parts }
  const again = sameTool(one, random, split)
  const next = dialogue(random, split, sentence(random.pick([again.ask, `and ${again.ask}`]), random), [again])
  return { tools: among([one.tool], random, split), parts: [...parts, ...next] }
}

/** The same tool used three or four times in one chat, each time for something else. */
export function callSeries(random: Random, split: Split): Exchange {
  const one = everyday(random, split)
  const more = Array.from({ length: random.integer(2, 3) }, () => sameTool(one, random, split))
  const ask = (text: string): string => (/^(in|to|for|by) /.test(text) ? `And ${text}?` : sentence(text, random))
  const parts = [one, ...more].flatMap((each) => dialogue(random, split, ask(each.ask), [each]))
  return { tools: [one.tool], parts }
}

/** Two things asked at once: two calls in one turn, results in the same order. */
export function parallelCalls(random: Random, split: Split): Exchange {
  const one = make(random, split)
  const other = random.chance(0.4) ? sameTool(one, random, split) : make(random, split)
  const both = other.tool.name === one.tool.name ? sameTool(one, random, split) : other
  const next = politely(both.ask, random).text
  const ask = sentence(
    random.pick([
      `${one.ask} and ${next}`,
      `${one.ask} and ${next}`,
      `${one.ask}, and ${next}`,
      `${one.ask}? and ${next}`,
      `${one.ask} and then ${next}`,
      `${one.ask}. ${capital(next)}`,
    ]),
    random,
  )
  return {
    tools: among(unique([one.tool, both.tool]), random, split),
    parts: dialogue(random, split, ask, [one, both]),
  }
}

/** The same tool once more, for something else: "the weather in Oslo and in Lima". */
function sameTool(one: Wanted, random: Random, split: Split): Wanted {
  const known = EVERYDAY.find((each) => each.name === one.tool.name)
  if (!known) return everyday(random, split)
  const value = known.value(random, split)
  const phrase = random.pick(known.asks)
  const preposition = / (in|to|for|by) \{\}$/.exec(phrase)?.[1]
  const ask = preposition && random.chance(0.5) ? `${preposition} ${value}` : phrase.replace('{}', value)
  return { tool: one.tool, ask, call: { name: one.tool.name, arguments: { [known.key]: value } } }
}

function sentence(ask: string, random: Random): string {
  const { text, asking } = politely(ask, random)
  return (random.chance(0.85) ? capital(text) : text) + (random.chance(0.9) ? (asking ? '?' : '.') : '')
}

/** What is no question may be asked for politely, at the head of a sentence or in the middle of one. */
function politely(ask: string, random: Random): { text: string; asking: boolean } {
  if (/^(what|how|is|where|which|who)\b/.test(ask)) return { text: ask, asking: true }
  if (/^(i|please|in|to|for|by) /.test(ask)) return { text: ask, asking: false }
  const polite = random.pick(['', '', 'please ', 'can you ', 'could you '])
  return { text: polite + ask, asking: polite.endsWith('you ') }
}

/** The wanted tools among others, three in all as a rule. */
function among(tools: readonly Tool[], random: Random, split: Split): Tool[] {
  const all = [...tools]
  const total = random.pick([1, 2, 2, 3, 3, 3])
  for (let tries = 0; all.length < total && tries < 8; tries++) {
    const other = make(random, split).tool
    if (!all.some((tool) => alike(tool, other))) all.push(other)
  }
  return random.sample(all, all.length)
}

/** Tools of which a question cannot tell the right one: two for the weather, when the question only says "weather". */
function alike(one: Tool, other: Tool): boolean {
  const object = ({ name }: Tool): string => name.slice(name.lastIndexOf('_') + 1)
  const plain = isEveryday(one) || isEveryday(other)
  return one.name === other.name || (plain && object(one) === object(other))
}

function isEveryday(tool: Tool): boolean {
  return EVERYDAY.some(({ name }) => name === tool.name)
}

function unique(tools: readonly Tool[]): Tool[] {
  return tools.filter((tool, index) => tools.findIndex((other) => other.name === tool.name) === index)
}

function dialogue(random: Random, split: Split, ask: string, asked: readonly Wanted[]): Exchange['parts'] {
  const think = `I need ${asked
    .map(
      ({ call }) =>
        `${call.name} with ${Object.entries(call.arguments)
          .map(([k, v]) => `${k} ${v}`)
          .join(', ')}`,
    )
    .join(' and ')}.`
  const results = asked.map(({ call }) => result(random, split, call))
  return [
    { kind: 'user', text: ask },
    { kind: 'assistant', think, text: '', calls: asked.map(({ call }) => call) },
    ...results.map(({ text }) => ({ kind: 'tool' as const, text })),
    { kind: 'assistant', think: 'I answer from the result.', text: results.map(({ answer }) => answer).join('\n') },
  ]
}

const FIELDS =
  'temperature sky time status state count price total hits size rain wind date result value owner level'.split(' ')
const STATES =
  'clear cloudy sunny rainy windy cold warm done ok sent open closed late ready found empty full booked playing'.split(
    ' ',
  )

/** What a tool might return, and the answer that can be read off it: every field, in order. */
function result(random: Random, split: Split, call: Call): { text: string; answer: string } {
  const about = String(Object.values(call.arguments)[0] ?? call.name)
  if (random.chance(0.1)) {
    const message = random.pick(['not found', 'no access', 'timed out', 'unknown city', 'too many requests'])
    return { text: `{"error": "${message}"}`, answer: `That did not work for ${about}: ${message}.` }
  }
  if (random.chance(0.25)) {
    const text = `${random.pick(STATES)}${random.chance(0.5) ? `, ${random.integer(1, 40)}` : ''}${random.chance(0.3) ? ` ${inventedWord(random, split)}` : ''}`
    return { text, answer: `For ${about} the result is: ${text}.` }
  }
  const fields: [string, string | number][] = random
    .sample(FIELDS, random.integer(1, 3))
    .map((field) => [field, fieldValue(field, random, split)])
  if (random.chance(0.2)) fields.unshift([Object.keys(call.arguments)[0] ?? 'name', about])
  const compact = random.chance(0.15)
  const json = `{${fields.map(([k, v]) => `"${k}":${compact ? '' : ' '}${JSON.stringify(v)}`).join(compact ? ',' : ', ')}}`
  return { text: json, answer: `For ${about}: ${fields.map(([k, v]) => `${k} ${v}`).join(', ')}.` }
}

function fieldValue(field: string, random: Random, split: Split): string | number {
  if (field === 'time') return `${random.integer(0, 23)}:${random.integer(10, 59)}`
  if (field === 'owner') return name(random, split)
  if (['sky', 'status', 'state', 'result'].includes(field))
    return random.chance(0.75) ? random.pick(STATES) : inventedWord(random, split)
  return random.integer(0, random.pick([40, 40, 999]))
}
