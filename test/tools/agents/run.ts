/**
 * `npm run agents`: installs each coding agent that is available on npm into a temporary folder, configures it for a
 * running product as its quickstart says, and gives it one task that needs a tool. The packages need two gigabytes, so
 * `npm test` does not run this.
 *
 *   npm run agents                             run all agents
 *   npm run agents -- codex pi                 run the named agents
 *   npm run agents -- --packages /var/agents   keep the packages in this folder and reuse them
 *   npm run agents -- --serve                  run no agent; keep the product running with a scripted model
 */
import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { type AgentQuickstart, agentQuickstarts, type DocsContext } from '../../../src/docs/quickstarts.ts'
import { startProduct } from '../../support/product.ts'
import { startScriptedWorker } from '../../support/scripted-worker.ts'
import { fileName, fileText, follow, lastWords, obey, prompt } from './task.ts'

const timeoutMs = 120_000

interface Outcome {
  wrote: boolean
  said: boolean
  code: number | null
  seconds: number
  requests: number
  output: string
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { packages: { type: 'string' }, verbose: { type: 'boolean' }, serve: { type: 'boolean' } },
})
const chosen = agentQuickstarts.filter(({ id }) => positionals.length === 0 || positionals.includes(id))
const temporary = mkdtempSync(join(tmpdir(), 'tramontane-agents-'))
const packages = values.packages ?? join(temporary, 'packages')

const product = await startProduct({ env: { TRAMONTANE_MODEL_ID: 'mistral-small-4' } })
const worker = await startScriptedWorker(product, { vision: true, script: values.serve ? obey : follow })
try {
  await worker.alone()
  const place = { origin: `http://127.0.0.1:${product.port}`, model: product.demo().model }
  if (values.serve) {
    console.log(JSON.stringify({ baseUrl: `${place.origin}/v1`, apiKey: product.demo().apiKey, model: place.model }))
    await new Promise<void>((resolve) => process.once('SIGINT', resolve).once('SIGTERM', resolve))
  }
  let failed = 0
  for (const agent of values.serve ? [] : chosen) {
    const outcome = await run(agent, place)
    const good = outcome.wrote && outcome.said
    if (!good) failed += 1
    const { requests, seconds, code } = outcome
    console.log(
      `${good ? 'ok  ' : 'FAIL'} ${agent.id.padEnd(12)} ${agent.version.padEnd(9)} file written: ${outcome.wrote ? 'yes' : 'no '}` +
        `  final message: ${outcome.said ? 'yes' : 'no '}  requests: ${requests}  ${seconds.toFixed(1)} s  exit ${code}`,
    )
    if (!good || values.verbose) console.log(outcome.output.slice(-4_000))
  }
  if (!values.serve) console.log(`${chosen.length - failed} of ${chosen.length} agents completed the task`)
  process.exitCode = failed === 0 ? 0 : 1
} finally {
  await worker.stop()
  await product.stop()
  rmSync(temporary, { recursive: true, force: true })
}

async function run(agent: AgentQuickstart, place: DocsContext): Promise<Outcome> {
  const bin = await install(agent)
  const home = join(temporary, agent.id, 'home')
  const project = join(temporary, agent.id, 'project')
  for (const folder of [home, project]) mkdirSync(folder, { recursive: true })
  const { apiKey } = product.demo()
  for (const [path, text] of Object.entries(agent.files(place))) {
    const file = path.startsWith('~/') ? join(home, path.slice(2)) : join(project, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text.replaceAll('$TRAMONTANE_API_KEY', apiKey))
  }
  const variables = Object.entries(agent.environment(place)).map(
    ([name, value]) => [name, value.replace('$TRAMONTANE_API_KEY', apiKey)] as const,
  )
  const env = {
    PATH: `${bin}:${dirname(process.execPath)}:${process.env.PATH}`,
    HOME: home,
    TMPDIR: temporary,
    TERM: 'dumb',
    CI: '1',
    TRAMONTANE_API_KEY: apiKey,
    PROMPT: prompt,
    ...Object.fromEntries(variables),
  }
  const asked = worker.engine.runs.length
  const startedAt = performance.now()
  if (agent.setup) await shell(agent.setup(place), project, env)
  const { code, output } = await shell(agent.command(place), project, env)
  const file = join(project, fileName)
  return {
    wrote: existsSync(file) && readFileSync(file, 'utf8') === fileText,
    said: output.includes(lastWords),
    code,
    seconds: (performance.now() - startedAt) / 1_000,
    requests: worker.engine.runs.length - asked,
    output,
  }
}

/** Returns the folder of the agent's commands. Agents are installed apart from the product's own packages. */
async function install({ id, package: name, version }: AgentQuickstart): Promise<string> {
  const folder = join(packages, id)
  const bin = join(folder, 'node_modules', '.bin')
  if (existsSync(bin)) return bin
  mkdirSync(folder, { recursive: true })
  // Two agents install their binary with an install script.
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, allowScripts: { [name]: true } }))
  const run = promisify(execFile)
  await run('npm', ['install', '--no-audit', '--no-fund', `${name}@${version}`], { cwd: folder })
  return bin
}

function shell(
  command: string,
  cwd: string,
  env: Record<string, string>,
): Promise<{ code: number | null; output: string }> {
  const child = spawn('bash', ['-c', command], { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  // Some agents leave a process behind: end the whole process group.
  const end = () => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    } catch {
      // The group has already ended.
    }
  }
  const timer = setTimeout(end, timeoutMs)
  return new Promise((resolve) => {
    child.once('exit', (code) => {
      clearTimeout(timer)
      setTimeout(() => {
        end()
        resolve({ code, output })
      }, 200)
    })
  })
}
