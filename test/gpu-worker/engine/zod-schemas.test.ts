/** The everyday schemas of zod, as zod prints them, with instances that the grammar must accept or reject. */
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { compileSchema, jsonRules } from '../../../gpu-worker/engine/schema/compile-schema.ts'
import { accepts } from './accepts.ts'

type Row = [name: string, schema: z.ZodType, yes: unknown[], no: unknown[]]

const rows: Row[] = [
  ['int', z.int(), [5, -7, 9007199254740991], [1.5, 'a', 9007199254740992e3]],
  ['email', z.email(), ['a@b.co', 'x.y+z@ex-am.example.com'], ['a', 'a@b', '@b.co', 'a b@c.de']],
  ['uuid', z.uuid(), ['123e4567-e89b-12d3-a456-426614174000'], ['123e4567-e89b-12d3-a456-42661417400', 'x']],
  ['dt', z.iso.datetime(), ['2024-02-29T12:00:00Z'], ['2023-02-29T12:00:00Z', '2024-01-01']],
  ['date', z.iso.date(), ['2024-02-29'], ['2023-02-29']],
  ['time', z.iso.time(), ['12:30:01'], ['25:00:00']],
  ['dur', z.iso.duration(), ['P1DT2H', 'P3W', 'PT1H'], ['P', 'PT', '1D']],
  ['host', z.hostname(), ['a.example.com', 'localhost'], ['-a.com', 'a..b', '']],
  ['ipv4', z.ipv4(), ['1.2.3.4'], ['1.2.3.256']],
  ['ipv6', z.ipv6(), ['::1', 'fe80::1', '1:2:3:4:5:6:7:8'], ['1:2', 'g::']],
  ['url', z.url(), ['https://x.y/z?q=1#f'], ['nope']],
  ['b64', z.base64(), ['', 'aGk='], ['a', '####']],
  ['nanoid', z.nanoid(), ['V1StGXR8_Z5jdHi6B-myT'], ['x']],
  ['ulid', z.ulid(), ['01ARZ3NDEKTSV4RRFFQ69G5FAV'], ['x']],
  ['emoji', z.emoji(), ['😀'], ['a', '']],
  ['e164', z.e164(), ['+14155552671'], ['+1']],
  ['sw', z.string().startsWith('a.b'), ['a.bc', 'a.b'], ['axb', 'xa.b']],
  ['inc', z.string().includes('x'), ['axb', 'x'], ['ab', '']],
  ['rec', z.record(z.string(), z.number()), [{ a: 1 }, {}], [{ a: 'x' }]],
  ['rece', z.record(z.enum(['a', 'b']), z.number()), [{ a: 1, b: 2 }], [{ a: 1 }, { a: 1, b: 2, c: 3 }]],
  ['prec', z.partialRecord(z.enum(['a', 'b']), z.number()), [{ a: 1 }, {}, { a: 1, b: 2 }], [{ c: 1 }]],
  ['tup', z.tuple([z.string(), z.number()]), [['a', 1]], [['a'], ['a', 1, 2]]],
  ['tupr', z.tuple([z.string()], z.number()), [['a'], ['a', 1, 2]], [[], ['a', 'b']]],
  ['loose', z.looseObject({ a: z.string() }), [{ a: 'x' }, { a: 'x', b: 3 }], [{}, { b: 3 }]],
  ['catchall', z.object({ a: z.string() }).catchall(z.number()), [{ a: 'x', b: 1, c: 2 }], [{ a: 'x', b: 'y' }]],
  [
    'du',
    z.discriminatedUnion('k', [
      z.object({ k: z.literal('a'), v: z.int() }),
      z.object({ k: z.literal('b'), w: z.string() }),
    ]),
    [
      { k: 'a', v: 1 },
      { k: 'b', w: 'x' },
    ],
    [{ k: 'a', w: 'x' }, { k: 'c' }],
  ],
  ['un', z.union([z.string(), z.number()]), ['a', 1], [true]],
  ['inter', z.intersection(z.object({ a: z.string() }), z.object({ b: z.string() })), [{ a: '', b: '' }], [{ a: '' }]],
  ['num', z.number().min(0).max(1), [0, 1, 0.5, 0.30000000000000004], [1.5, -0.1, 2]],
  ['mult', z.number().multipleOf(0.01), [0.25, 3, -1.5], [0.001]],
  ['mult5', z.number().int().multipleOf(5), [5, 10, -15, 0], [3, 12]],
  ['pos', z.number().positive(), [0.1, 5, 12.25], [0, -1]],
  ['intpos', z.number().int().positive(), [1, 99], [0, -1, 1.5]],
  ['tpl', z.templateLiteral(['v', z.number()]), ['v1', 'v-2.5'], ['1', 'v']],
  ['nul', z.string().nullable(), [null, 'a'], [1]],
  ['cidr', z.cidrv4(), ['10.0.0.0/8'], ['10.0.0.0']],
  ['hex', z.hex(), ['', 'a0F'], ['g']],
  [
    'strlen',
    z
      .string()
      .min(2)
      .max(4)
      .regex(/^[a-z]+$/),
    ['ab', 'abcd'],
    ['a', 'abcde', 'AB'],
  ],
  ['lower', z.string().lowercase(), ['abc'], ['A']],
  [
    'obj',
    z.object({
      name: z.string().min(1),
      age: z.number().int().min(0).max(150).optional(),
      tags: z.array(z.string()).max(3),
      e: z.enum(['x', 'y']),
    }),
    [
      { name: 'a', tags: [], e: 'x' },
      { name: 'a', age: 3, tags: ['q'], e: 'y' },
    ],
    [
      { name: '', tags: [], e: 'x' },
      { name: 'a', tags: [], e: 'z' },
    ],
  ],
]

function compiled(schema: z.ZodType, target: 'draft-2020-12' | 'draft-7') {
  return compileSchema(z.toJSONSchema(schema, { target }) as Record<string, unknown>, 'root', true)
}

describe.each(['draft-2020-12', 'draft-7'] as const)('schemas of zod in %s', (target) => {
  it('[ENG33] every everyday schema of zod is enforced: it accepts its own values and no others', () => {
    const faults = rows.flatMap(([name, schema, yes, no]) => {
      const rules = compiled(schema, target)
      if (!rules.ok) return [`${name}: ${rules.keyword} ${rules.reason}`]
      const fits = accepts([...rules.rules, ...jsonRules].join('\n'))
      const wrong = [
        ...yes.filter((value) => !fits(JSON.stringify(value))),
        ...no.filter((value) => fits(JSON.stringify(value))),
      ]
      return wrong.map((value) => `${name}: ${JSON.stringify(value)}`)
    })
    expect(faults).toEqual([])
    expect(rows.length).toBeGreaterThan(35)
  })
})

describe('texts whose automaton is too large', () => {
  // A label has up to 63 characters at any of 253 positions.
  const host = z.toJSONSchema(z.hostname()) as Record<string, unknown>

  it('[ENG37] only short texts are written, with a warning that names the bound', () => {
    const rules = compileSchema({ ...host, maxLength: 200 }, 'root', true)
    if (!rules.ok) throw new Error(rules.reason)
    expect(rules.warnings).toEqual([expect.stringMatching(/^"pattern" at #: only texts of at most 60 characters/)])
    const fits = accepts([...rules.rules, ...jsonRules].join('\n'))
    const long = `${'a'.repeat(20)}.${'b'.repeat(20)}.com`
    expect(
      [long, `x.${'y'.repeat(58)}`, `x.${'y'.repeat(59)}`, '-a.com', 'a..b'].map((text) => fits(`"${text}"`)),
    ).toEqual([true, true, false, false, false])
  })

  it('[ENG37] a text that must be long is refused', () => {
    expect(compileSchema({ ...host, minLength: 100 }, 'root', true)).toMatchObject({
      ok: false,
      reason: expect.stringContaining('steps'),
    })
  })

  it('[ENG11] a label of a host name has at most 63 characters', () => {
    const rules = compileSchema({ type: 'string', format: 'hostname' }, 'root', true)
    if (!rules.ok) throw new Error(rules.reason)
    const fits = accepts([...rules.rules, ...jsonRules].join('\n'))
    const labels = [62, 64].map((length) => `"${'a'.repeat(length)}.example.com"`)
    expect([...labels, `"${'abcdefghij.'.repeat(11)}com"`].map(fits)).toEqual([true, false, true])
    expect(rules.warnings).toEqual([])
  })
})
