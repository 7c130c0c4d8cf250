/** A client that is generated from the published documents compiles, and refuses fields that do not exist. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import generate, { type OpenAPI3 } from 'openapi-typescript'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = join(root, '.tramontane', 'generated-client')

/** One request of each kind: a body, a path, a query, an answer. The compiler must refuse every marked line. */
const program = `
import type { operations as Operators } from './operators.mts'
import type { operations as Users } from './users.mts'

type Body<Operation> = Operation extends { requestBody: { content: { 'application/json': infer Type } } } ? Type : never
type Query<Operation> = Operation extends { parameters: { query?: infer Type } } ? Type : never
type Path<Operation> = Operation extends { parameters: { path: infer Type } } ? Type : never
type Answer<Operation, Status extends number> = Operation extends {
  responses: { [Key in Status]: { content: { 'application/json': infer Type } } }
} ? Type : never

declare function operate<Id extends keyof Operators, Status extends number>(
  id: Id, status: Status, input: { path?: Path<Operators[Id]>; query?: Query<Operators[Id]>; body?: Body<Operators[Id]> },
): Promise<Answer<Operators[Id], Status>>
declare function call<Id extends keyof Users, Status extends number>(
  id: Id, status: Status, input: { path?: Path<Users[Id]>; query?: Query<Users[Id]>; body?: Body<Users[Id]> },
): Promise<Answer<Users[Id], Status>>

export async function run(): Promise<void> {
  const created = await operate('createTenant', 201, {
    body: { tenant_id: 'acme', name: 'Acme', credit_nano: 5, settings: { weight: 200 }, limits: { budget_nano: { day: 7 } } },
  })
  const tenantId: string = created.tenant_id
  // @ts-expect-error
  await operate('createTenant', 201, { body: { tenant_id: tenantId, name: 'Acme', credit_nano: 5, credit: 5 } })
  // @ts-expect-error
  await operate('createTenant', 201, { body: { tenant_id: tenantId, name: 'Acme' } })
  // @ts-expect-error
  await operate('createTenant', 201, { body: { tenant_id: tenantId, name: 'Acme', credit_nano: 5, settings: { weigth: 200 } } })
  // @ts-expect-error
  await operate('createTenant', 201, { body: { tenant_id: tenantId, name: 'A', credit_nano: 5, limits: { budget_nano: { total: 7 } } } })

  const key = await operate('createKey', 201, { path: { tenant_id: tenantId }, body: { name: 'ci', role: 'member', models: null } })
  const secret: string = key.api_key
  const perMinute: number | null = key.limits.requests_per_minute
  // @ts-expect-error
  await operate('createKey', 201, { path: { tenant: tenantId }, body: { name: 'ci' } })
  // @ts-expect-error
  key.secret

  const page = await operate('listTenants', 200, { query: { limit: 10, after: tenantId } })
  const next: string | null = page.next
  const names: string[] = page.data.map(({ name }) => name)
  const pools = await operate('retrievePools', 200, {})
  const slots: number = pools.latency.slots

  const own = await call('createOwnKey', 201, { body: { name: 'ci', limits: { requests_per_minute: 60 } } })
  const ownKey: string = own.api_key
  // @ts-expect-error
  await call('createOwnKey', 201, { body: { name: 'ci', limits: { requestsPerMinute: 60 } } })
  // @ts-expect-error
  own.apiKey

  const usage = await call('reportOwnUsage', 200, { query: { from: '2026-11-01', bucket: 'day', group_by: 'model' } })
  const cost: number = usage.totals.cost_nano
  // @ts-expect-error
  await call('reportOwnUsage', 200, { query: { bucket: 'year' } })

  console.log(secret, perMinute, next, names, slots, ownKey, cost)
}
`

describe('a generated client', () => {
  it('[REF9] types from both documents compile: calls with correct fields pass, and wrong fields fail', async () => {
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    for (const audience of ['users', 'operators'] as const) {
      writeFileSync(join(folder, `${audience}.mts`), await generate(documentOf(audience)))
    }
    writeFileSync(join(folder, 'program.mts'), program)
    expect(compile('program.mts')).toBe('')
    rmSync(folder, { recursive: true })
  })
})

/** In a process of its own: the gateway's types are those of workerd, and this project's are Node's. */
function documentOf(audience: string): OpenAPI3 {
  const print = `import { openapi } from './src/docs/openapi.ts'
    import { routes } from './src/routes.ts'
    process.stdout.write(JSON.stringify(openapi(routes, 'https://gateway.example', '${audience}')))`
  const options = { cwd: root, encoding: 'utf8', maxBuffer: 8_000_000 } as const
  return JSON.parse(execFileSync(process.execPath, ['--input-type=module', '--eval', print], options)) as OpenAPI3
}

/** Returns the compiler's errors. */
function compile(file: string): string {
  const options = ['--noEmit', '--strict', '--allowImportingTsExtensions', '--module', 'nodenext', '--target', 'es2024']
  const tsc = join(root, 'node_modules', '.bin', 'tsc')
  try {
    execFileSync(tsc, ['--ignoreConfig', ...options, '--lib', 'es2024,dom', '--types', '', file], {
      cwd: folder,
      encoding: 'utf8',
    })
    return ''
  } catch (error) {
    return String((error as { stdout?: unknown }).stdout)
  }
}
