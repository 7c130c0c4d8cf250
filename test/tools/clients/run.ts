/**
 * `npm run clients:python`: runs published Python clients against a product with the embedded engine: a chat, a
 * stream, a tool call with its result, structured output, and a wrong key as the client's own exception. Skipped, with
 * a message, where Python 3.10, its venv module or the package index is missing. The packages need 400 MB, so
 * `npm test` does not run this.
 *
 *   npm run clients:python                       run all clients
 *   npm run clients:python -- openai litellm     run the named clients
 */
import { spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { startProduct } from '../../support/product.ts'
import { pythonEnvironment } from '../../support/python-environment.ts'

interface Outcome {
  case: string
  fault: string | null
  seconds: number
}

const here = import.meta.dirname
const timeoutMs = 180_000
const casesMin = 5
const clients = readdirSync(here)
  .flatMap((file) => /^with_(\w+)\.py$/.exec(file)?.[1] ?? [])
  .sort()
const names = process.argv.slice(2)
const unknown = names.find((name) => !clients.includes(name))
if (unknown !== undefined) {
  console.error(`${unknown}: no such client. Use one of ${clients.join(', ')}.`)
  process.exit(2)
}

const pythons = new Map<string, string>()
for (const client of names.length > 0 ? names : clients) {
  const environment = await pythonEnvironment(packagesOf(client), console.log)
  if (!environment.ok) {
    console.log(`skipped: ${environment.reason}`)
    process.exit(0)
  }
  pythons.set(client, environment.python)
}
const product = await startProduct()
let failed = 0
try {
  for (const [client, python] of pythons) failed += await check(client, python)
  console.log(failed === 0 ? '\nall clients work' : `\n${failed} cases failed`)
} finally {
  await product.stop()
}
process.exit(failed > 0 ? 1 : 0)

/** A client has its own packages if it does not work with the versions of the others. */
function packagesOf(client: string): string {
  const own = `${here}/packages-${client}.txt`
  return existsSync(own) ? own : `${here}/packages.txt`
}

/** Returns the number of failed cases. A client that reports too few cases has failed, too. */
async function check(client: string, python: string): Promise<number> {
  const { apiKey, model } = product.demo()
  const child = spawn(python, ['-W', 'ignore', `${here}/check.py`, client], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    env: {
      ...process.env,
      PYTHONUTF8: '1',
      PYTHONDONTWRITEBYTECODE: '1',
      // No client may use another vendor's key of this machine.
      OPENAI_API_KEY: '',
      ANTHROPIC_API_KEY: '',
      MISTRAL_API_KEY: '',
      LITELLM_LOCAL_MODEL_COST_MAP: 'True',
      TRAMONTANE_ORIGIN: `http://127.0.0.1:${product.port}`,
      TRAMONTANE_MODEL: model,
      TRAMONTANE_API_KEY: apiKey,
    },
  })
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  let cases = 0
  let faults = 0
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('{"case"')) continue
    const outcome = JSON.parse(line) as Outcome
    cases += 1
    if (outcome.fault !== null) faults += 1
    const mark = outcome.fault === null ? '✓' : '✗'
    console.log(`${mark} ${client.padEnd(14)} ${outcome.case.padEnd(24)} ${outcome.seconds.toFixed(1)} s`)
    if (outcome.fault !== null) console.log(outcome.fault)
  }
  await exited
  if (cases >= casesMin) return faults
  console.log(`✗ ${client}: only ${cases} cases ended within ${timeoutMs / 1_000} s`)
  return faults + 1
}
