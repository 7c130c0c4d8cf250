/**
 * `npm run schemathesis`: starts a product and sends generated requests for every operation of both OpenAPI documents.
 * Fails on a 5xx and on a status, a content type or a body that the document does not have. Needs Python 3.10 and PyPI.
 *
 *   npm run schemathesis                          test both documents
 *   npm run schemathesis -- operators             test one document
 *   npm run schemathesis -- --examples 50 --seconds 600 --seed 7
 *   npm run schemathesis -- --program <path>      use an installed `st` in place of a temporary one
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startProduct } from '../../support/product.ts'
import { excluded } from './excluded.ts'

const version = '4.32.5'
const memoryMbMax = 3_000
const checks = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_schema_conformance',
]

const { values, positionals } = parseArgs({
  options: {
    examples: { type: 'string', default: '25' },
    seconds: { type: 'string', default: '300' },
    seed: { type: 'string', default: '1' },
    program: { type: 'string' },
  },
  allowPositionals: true,
})
const audiences = (['users', 'operators'] as const).filter(
  (audience) => positionals.length === 0 || positionals.includes(audience),
)
if (audiences.length === 0) {
  process.stderr.write('no such document. Use users or operators.\n')
  process.exit(2)
}

const folder = mkdtempSync(join(tmpdir(), 'schemathesis-'))
const program = values.program ?? install()
for (const { operation, reason } of excluded) process.stdout.write(`without ${operation}: ${reason}\n`)
const product = await startProduct()
let failed = false
try {
  for (const audience of audiences) failed = !(await test(audience)) || failed
} finally {
  await product.stop()
  rmSync(folder, { recursive: true, force: true })
}
process.exit(failed ? 1 : 0)

function install(): string {
  process.stdout.write(`installing schemathesis ${version} …\n`)
  execFileSync('python3', ['-m', 'venv', folder], { stdio: 'inherit' })
  execFileSync(join(folder, 'bin', 'pip'), ['install', '--quiet', `schemathesis==${version}`], { stdio: 'inherit' })
  return join(folder, 'bin', 'st')
}

/** Returns whether every answer is one that the document has. */
async function test(audience: 'users' | 'operators'): Promise<boolean> {
  const { apiKey, operatorKey } = product.demo()
  const path = audience === 'users' ? '/openapi.json' : '/openapi/operators.json'
  process.stdout.write(`\n${path}\n`)
  const child = spawn(
    program,
    [
      ...['run', `http://127.0.0.1:${product.port}${path}`, '--no-color', '--workers', '1', '--no-shrink'],
      ...['--phases', 'examples,coverage,fuzzing', '--checks', checks.join(','), '--continue-on-failure'],
      ...['--max-examples', values.examples, '--max-time', values.seconds, '--seed', values.seed],
      ...['--request-timeout', '60', '--generation-database', 'none'],
      ...['--header', `authorization: Bearer ${audience === 'users' ? apiKey : operatorKey}`],
      ...excluded.flatMap(({ operation }) => ['--exclude-name', operation]),
    ],
    {
      cwd: folder,
      stdio: 'inherit',
      env: { ...process.env, SCHEMATHESIS_HOOKS: new URL('hooks.py', import.meta.url).pathname },
    },
  )
  const watch = setInterval(() => endIfTooLarge(child), 1_000)
  const status = await new Promise<number | null>((resolve) => child.once('exit', resolve))
  clearInterval(watch)
  return status === 0
}

/** Ends the child if it takes more memory than it may; the run counts as failed. */
function endIfTooLarge(child: ReturnType<typeof spawn>): void {
  try {
    const kilobytes = Number(execFileSync('ps', ['-o', 'rss=', '-p', String(child.pid)], { encoding: 'utf8' }))
    if (kilobytes < memoryMbMax * 1_024) return
  } catch {
    // It has just exited.
    return
  }
  process.stderr.write(`schemathesis takes more than ${memoryMbMax} MB. Use fewer examples.\n`)
  child.kill('SIGKILL')
}
