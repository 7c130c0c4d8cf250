/** The OpenAPI documents as their readers need them: named, described, with examples, and no wider than the server. */
import { describe, expect, it } from 'vitest'
import { openapi } from '../../src/docs/openapi.ts'
import { toCamel } from '../../src/http/snake-case.ts'
import { routes } from '../../src/routes.ts'
import { readUsageQuery } from '../../src/tenant/usage/report.ts'
import { UsageParameters } from '../../src/tenant/usage/usage-parameters.ts'

type Json = Record<string, unknown>
interface Described {
  operationId: string
  summary: string
  tags: string[]
  parameters?: { name: string; in: string; description?: string; schema: Json }[]
  requestBody?: { content: { 'application/json': { schema: Json; example?: unknown } } }
}

const operations = (['users', 'operators'] as const).flatMap((audience) => {
  const document = openapi(routes, 'https://gateway.example', audience) as {
    paths: Record<string, Record<string, Described>>
    components: { schemas: Record<string, Json> }
  }
  return Object.values(document.paths).flatMap((methods) =>
    Object.values(methods).map((operation) => ({ operation, schemas: document.components.schemas })),
  )
})
/** The paths of properties without a text of their own. */
function undescribed(schema: Json, schemas: Record<string, Json>, at: string): string[] {
  const {
    $ref,
    properties = {},
    items,
    anyOf = [],
    oneOf = [],
  } = schema as {
    $ref?: string
    properties?: Record<string, Json>
    items?: Json
    anyOf?: Json[]
    oneOf?: Json[]
  }
  if ($ref !== undefined) return undescribed(schemas[$ref.slice('#/components/schemas/'.length)] ?? {}, schemas, at)
  const inside = [...anyOf, ...oneOf, ...(items ? [items] : [])].flatMap((each) => undescribed(each, schemas, at))
  const fields = Object.entries(properties).flatMap(([name, each]) => [
    ...(isText(each.description) ? [] : [`${at}.${name}`]),
    ...undescribed(each, schemas, `${at}.${name}`),
  ])
  return [...fields, ...inside]
}

/** At least one sentence. */
function isText(value: unknown): boolean {
  return typeof value === 'string' && /^[A-Z`].{8,}/s.test(value)
}

describe('the OpenAPI documents', () => {
  it('[REF8] every operation has a summary and a unique id; every parameter and field that a user sets is described', () => {
    const ids = operations.map(({ operation }) => operation.operationId)
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids.length).toBeGreaterThan(50)
    for (const { operation } of operations) expect(operation.summary, operation.operationId).toMatch(/^[A-Z]\w+ .+/)
    const missing = operations.flatMap(({ operation, schemas }) => {
      const { operationId, parameters = [], requestBody } = operation
      const unsaid = parameters
        .filter(({ description, schema }) => !isText(description) || schema.examples === undefined)
        .map(({ name }) => `${operationId}?${name}`)
      return [...unsaid, ...undescribed(requestBody?.content['application/json'].schema ?? {}, schemas, operationId)]
    })
    expect(missing).toEqual([])
  })

  it('[REF10] every request body has an example, and the schema that reads the body accepts it', () => {
    const bodies = operations.filter(({ operation }) => operation.requestBody)
    expect(bodies.length).toBeGreaterThan(20)
    for (const { operation } of bodies) {
      const { operationId, requestBody } = operation
      const { body, snake } = routes.find(({ id }) => id === operationId) ?? {}
      const example = requestBody?.content['application/json'].example
      expect(example, operationId).toBeTypeOf('object')
      const read = body?.safeParse(snake ? toCamel(example) : example)
      expect(read?.error, operationId).toBeUndefined()
      expect(Object.keys(example as object).length, operationId).toBeGreaterThan(0)
    }
  })

  it('[REF11] a usage report accepts every parameter that its schema accepts', () => {
    const values: Record<string, [string[], string[]]> = {
      from: [
        ['2026-11-01', '2026-11-01T10:00Z', '2026-11-01T10:00:30.5+01:00', '1790000000000'],
        [
          '',
          'x',
          '2026-11',
          '2026-13-01',
          '2026-11-01x',
          '-1',
          '9'.repeat(16),
          '2026-02-30',
          '1790000000',
          '2026-04-31',
          '2026-11-01T10:00',
        ],
      ],
      to: [
        ['2026-11-30', '2026-11-24T23:00Z'],
        ['', '2026-11-40', 'now'],
      ],
      bucket: [
        ['day', 'hour', 'week', 'month', 'all'],
        ['', 'year'],
      ],
      group_by: [
        ['', 'key', 'key,model,effort,pool,outcome'],
        ['x', 'key,x'],
      ],
      format: [
        ['json', 'jsonl', 'csv'],
        ['', 'xml'],
      ],
      key: [['a', 'a,b', ''], []],
    }
    const reads = (name: string, value: string) => {
      try {
        readUsageQuery(new URLSearchParams({ from: '2026-11-20', [name]: value }))
        return true
      } catch {
        return false
      }
    }
    for (const [name, [good, bad]] of Object.entries(values)) {
      for (const value of good)
        expect([name, value, allows(name, value), reads(name, value)]).toEqual([name, value, true, true])
      for (const value of bad)
        expect([name, value, allows(name, value), reads(name, value)]).toEqual([name, value, false, false])
    }
  })
})

function allows(name: string, value: string): boolean {
  return UsageParameters.safeParse({ [name]: value }).success
}
