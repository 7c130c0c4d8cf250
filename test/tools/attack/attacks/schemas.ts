/** Schemas that cost more to compile, parse or sample with than to send. */
import { type Attack, times } from '../attack.ts'
import type { Answer, World } from '../world.ts'

type Schema = Record<string, unknown>

/** A chain of definitions, each a choice of `width` references to the next: width^levels paths in a few kilobytes. */
function bomb(levels: number, width: number): Schema {
  const $defs: Record<string, unknown> = { [`d${levels}`]: { type: 'string' } }
  for (let level = 0; level < levels; level++)
    $defs[`d${level}`] = { anyOf: Array.from({ length: width }, () => ({ $ref: `#/$defs/d${level + 1}` })) }
  return { type: 'object', properties: { a: { $ref: '#/$defs/d0' } }, required: ['a'], $defs }
}

const format = (schema: unknown, strict = false) => ({
  response_format: { type: 'json_schema', json_schema: { name: 'a', schema, strict } },
})
const tool = (parameters: unknown, index = 0) => ({ type: 'function', function: { name: `f${index}`, parameters } })
const one = (schema: unknown): Schema => ({ type: 'object', properties: { a: schema }, required: ['a'] })
const text = { type: 'string' }

/** Sends a schema as a response format: not streamed, then streamed and strict. */
function asFormat(name: string, schema: () => unknown, more: Partial<Attack> & { change?: object } = {}): Attack {
  const { change, ...rest } = more
  return {
    name,
    run: (world) =>
      times(2, (index) => world.chat({ ...format(schema(), index === 1), stream: index === 1, ...change })),
    ...rest,
  }
}

function nested(depth: number, inner: unknown, wrap: (inner: unknown) => unknown): unknown {
  let schema = inner
  for (let level = 0; level < depth; level++) schema = wrap(schema)
  return schema
}

function dag(levels: number): Schema {
  const $defs: Record<string, unknown> = { [`p${levels}`]: { type: 'object', properties: { x: text } } }
  for (let level = 0; level < levels; level++)
    $defs[`p${level}`] = {
      allOf: [{ $ref: `#/$defs/p${level + 1}` }, { $ref: `#/$defs/p${level + 1}` }],
      properties: { [`k${level}`]: { allOf: [{ $ref: `#/$defs/p${level + 1}` }] } },
    }
  return { $ref: '#/$defs/p0', $defs }
}

const letters = (count: number, letter = 'x') => letter.repeat(count)
const manyProperties = (count: number, schema: unknown) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`property${index}`, schema]))

/** Sends a schema given as JSON text, which `JSON.stringify` may be unable to write, wherever schemas are accepted. */
async function everywhereText(world: World, schema: string): Promise<Answer[]> {
  const send: World['send'] = (path, body, options) =>
    world.send(path, null, { ...options, raw: JSON.stringify(body).replaceAll('"@schema"', schema) })
  const chat: World['chat'] = (change, options) =>
    send(
      '/v1/chat/completions',
      { model: world.model, max_tokens: 8, messages: [{ role: 'user', content: 'hi' }], ...change },
      options,
    )
  return everywhere({ ...world, send, chat }, '@schema')
}

async function everywhere(world: World, schema: unknown): Promise<Answer[]> {
  const { model } = world
  const messages = [{ role: 'user', content: 'What is 2 + 2?' }]
  return Promise.all([
    world.chat(format(schema)),
    world.chat({ tools: [tool(schema)], tool_choice: 'required' }),
    world.send('/v1/responses', {
      model,
      max_output_tokens: 8,
      input: 'hi',
      text: { format: { type: 'json_schema', name: 'a', schema } },
    }),
    world.send('/v1/responses', {
      model,
      max_output_tokens: 8,
      input: 'hi',
      tools: [{ type: 'function', name: 'f', parameters: schema }],
    }),
    world.send('/v1/messages', { model, max_tokens: 8, messages, tools: [{ name: 'f', input_schema: schema }] }),
    world.send('/v1/messages', {
      model,
      max_tokens: 8,
      messages,
      output_config: { format: { type: 'json_schema', schema } },
    }),
    world.send('/v1/messages/count_tokens', { model, messages, tools: [{ name: 'f', input_schema: schema }] }),
    world.send('/v1/responses/input_tokens', {
      model,
      input: 'hi',
      text: { format: { type: 'json_schema', name: 'a', schema } },
    }),
    world.send('/mistral/v1/chat/completions', { model, max_tokens: 8, messages, ...format(schema) }),
  ])
}

export const schemaAttacks: readonly Attack[] = [
  { name: 'schema-bomb-of-references', quick: true, run: (world) => everywhere(world, bomb(31, 3)) },
  asFormat('schema-bomb-wide', () => bomb(12, 200)),
  {
    name: 'schema-bomb-in-every-tool',
    run: (world) =>
      times(2, () => world.chat({ tools: Array.from({ length: 100 }, (_, index) => tool(bomb(20, 2), index)) })),
  },
  { name: 'schema-bomb-of-allof', run: (world) => everywhere(world, dag(16)) },
  asFormat('schema-merge-of-megabytes', () => ({
    ...one({ anyOf: Array.from({ length: 200 }, () => ({ $ref: '#/$defs/big' })), description: 'd', properties: {} }),
    $defs: { big: { type: 'object', properties: manyProperties(8_000, text), enum: undefined, const: undefined } },
  })),
  ...[
    ['array', { type: 'array', minItems: 5, maxItems: 2, items: text }],
    ['string', { type: 'string', minLength: 5, maxLength: 2 }],
    ['object', { type: 'object', minProperties: 4, maxProperties: 2 }],
    ['object-values', { type: 'object', additionalProperties: text, minProperties: 4, maxProperties: 2 }],
    ['number', { type: 'integer', minimum: 5, maximum: 2 }],
  ].map(
    ([name, schema]): Attack => ({
      name: `schema-bounds-reversed-${name}`,
      quick: name === 'array',
      run: async (world) => [
        ...(await everywhere(world, one(schema))),
        await world.chat(format({ ...one({ const: 'hello' }), ...one(schema) })),
      ],
    }),
  ),
  {
    name: 'schema-bounds-reversed-by-merge',
    run: (world) => everywhere(world, one({ allOf: [{ type: 'array', minItems: 9, items: text }, { maxItems: 3 }] })),
  },
  {
    name: 'schema-bounds-reversed-by-reference',
    run: (world) =>
      everywhere(world, {
        ...one({ allOf: [{ $ref: '#/$defs/a' }, { maxLength: 1 }] }),
        $defs: { a: { type: 'string', minLength: 7 } },
      }),
  },
  ...[
    ['negative', { type: 'string', maxLength: -5 }],
    ['fractional', { type: 'array', minItems: 1.5, items: text }],
    ['huge', { type: 'string', maxLength: 1e21 }],
    ['huge-least', { type: 'string', minLength: 1e9 }],
    ['text', { type: 'array', minItems: '3', maxItems: [2], items: text }],
    ['null', { type: 'array', minItems: null, maxItems: null, items: text }],
    ['integer-huge', { type: 'integer', minimum: -1e308, maximum: 1e308 }],
  ].map(([name, schema]): Attack => ({ name: `schema-bound-${name}`, run: (world) => everywhere(world, one(schema)) })),
  {
    name: 'schema-many-long-strings',
    run: (world) =>
      times(2, () =>
        world.chat(
          format({
            type: 'object',
            properties: manyProperties(1_300, { type: 'string', maxLength: 1_900 }),
            required: ['property0'],
          }),
        ),
      ),
  },
  asFormat('schema-many-optional-properties', () => ({ type: 'object', properties: manyProperties(5_000, text) })),
  {
    name: 'schema-enum-with-one-prefix',
    quick: true,
    run: (world) =>
      times(2, () =>
        world.chat({
          ...format(one({ enum: Array.from({ length: 10_000 }, (_, index) => letters(40) + index) })),
          max_tokens: 60,
        }),
      ),
  },
  asFormat(
    'schema-enum-at-openai-limit',
    () => one({ enum: Array.from({ length: 1_000 }, (_, index) => letters(100) + index) }),
    { change: { max_tokens: 60 } },
  ),
  asFormat('schema-enum-of-megabytes', () =>
    one({ enum: Array.from({ length: 4 }, (_, index) => letters(500_000) + index) }),
  ),
  asFormat('schema-branches-with-one-beginning', () =>
    one({
      anyOf: Array.from({ length: 1_000 }, (_, index) => ({
        type: 'object',
        properties: { same: text, [`k${index}`]: text },
        required: ['same', `k${index}`],
      })),
    }),
  ),
  asFormat('schema-nested-repeats', () =>
    one(nested(6, text, (items) => ({ type: 'array', items, minItems: 100, maxItems: 1_000 }))),
  ),
  asFormat('schema-nested-optional', () =>
    nested(8, text, (inner) => ({ type: 'object', properties: { a: inner, b: inner, c: inner } })),
  ),
  asFormat(
    'schema-ambiguous-text',
    () => one({ anyOf: Array.from({ length: 400 }, (_, index) => ({ type: 'string', maxLength: 100 + index })) }),
    { change: { max_tokens: 60 } },
  ),
  asFormat('schema-free-objects', () => one({ anyOf: Array.from({ length: 200 }, () => ({ type: 'object' })) })),
  {
    name: 'schema-stray-percent',
    quick: true,
    run: (world) => everywhere(world, one({ $ref: '#/%E0%A4%A' })),
    expect: (answers) => overloaded(answers),
  },
  {
    name: 'schema-required-no-list',
    run: (world) => everywhere(world, { ...one(text), required: 5 }),
    expect: (answers) => overloaded(answers),
  },
  {
    name: 'schema-required-merged',
    run: (world) =>
      everywhere(world, one({ allOf: [{ required: 5 }, { required: ['a'] }, { required: { length: 1e9 } }] })),
    expect: (answers) => overloaded(answers),
  },
  {
    name: 'schema-nested-5000',
    run: (world) =>
      everywhereText(
        world,
        `${'{"type":"object","properties":{"a":'.repeat(5_000)}{"type":"string"}${'}}'.repeat(5_000)}`,
      ),
    expect: (answers) => overloaded(answers),
  },
  {
    name: 'schema-const-nested-5000',
    run: (world) =>
      everywhereText(
        world,
        `{"type":"object","properties":{"a":{"const":${'['.repeat(5_000)}1${']'.repeat(5_000)}}},"required":["a"]}`,
      ),
    expect: (answers) => overloaded(answers),
  },
  {
    name: 'schema-all-of-itself',
    run: (world) =>
      everywhere(world, { ...one({ $ref: '#/$defs/a' }), $defs: { a: { allOf: [{ $ref: '#/$defs/a' }] } } }),
    expect: (answers) => overloaded(answers),
  },
  {
    name: 'schema-cycle-of-references',
    run: (world) =>
      everywhere(world, {
        ...one({ $ref: '#/$defs/a' }),
        $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } },
      }),
    expect: (answers) => overloaded(answers),
  },
  {
    name: 'schema-cycle-of-branches',
    run: (world) => everywhere(world, { anyOf: [{ $ref: '#' }, { $ref: '#' }, text] }),
    expect: (answers) => overloaded(answers),
  },
  {
    name: 'schema-prototype-names',
    run: (world) =>
      times(1, () =>
        world.send('/v1/chat/completions', null, {
          raw: JSON.stringify({
            model: world.model,
            max_tokens: 8,
            messages: [{ role: 'user', content: 'hi' }],
            ...format({
              type: 'object',
              properties: { constructor: text, toString: { $ref: '#/constructor/prototype' } },
              required: ['constructor'],
            }),
          }).replace('"toString"', '"__proto__"'),
        }),
      ),
    expect: (answers) => overloaded(answers),
  },
  {
    name: 'schema-integer-ranges',
    run: (world) =>
      world
        .chat(
          format({
            type: 'object',
            properties: manyProperties(1_000, {
              type: 'integer',
              minimum: -123_456_789_012_345,
              maximum: 987_654_321_098_765,
            }),
          }),
        )
        .then((answer) => [answer]),
  },
  {
    name: 'tools-with-heavy-arguments',
    run: (world) =>
      times(2, () =>
        world.chat({
          tools: Array.from({ length: 60 }, (_, index) =>
            tool({ type: 'object', properties: manyProperties(60, { type: 'string', maxLength: 1_900 }) }, index),
          ),
          tool_choice: 'required',
          max_tokens: 60,
        }),
      ),
  },
]

/** A client's mistake must not be reported as an overload: clients would retry it. */
function overloaded(answers: readonly Answer[]): string | undefined {
  const wrong = answers.find(({ status, text }) => status >= 500 && text.includes('server_is_overloaded'))
  return wrong && `an invalid schema was reported as an overload: ${wrong.text.slice(0, 120)}`
}
