/** Creates the engine that the settings select. */
import { createHmac, randomBytes } from 'node:crypto'
import { createServer } from 'node:net'
import type { Launch, LaunchSettings } from '../backends/contract/backend.ts'
import { cleanText } from '../backends/model/clean-text.ts'
import type { Config, EngineChoice } from './config.ts'
import { createEmbeddedEngine } from './engine/embedded.ts'
import type { Engine } from './engine/engine.ts'
import { createHttpEngine, type HttpEngineOptions } from './engine/http.ts'
import { attach, launch } from './engine/launch.ts'
import { attachedRules, launchedRules } from './engine/lifecycle.ts'
import { LogLines } from './engine/log-lines.ts'
import { supervisorTimes } from './engine/supervisor.ts'

/** Time for an engine to exit after SIGTERM. */
const graceMs = 10_000
/** An attached engine is already running, and it answers while it loads, so this limit is short. */
const attachSilentMs = 10_000
const lineMax = 500
/** The last lines of output, searched for the cause of a failure. */
const linesKept = 20

export async function createEngine(config: Config, log: (line: string) => void): Promise<Engine> {
  const { engine, slotsMax, contextTokens } = config
  if (engine.kind === 'embedded') {
    const { kind: _, ...settings } = engine
    return createEmbeddedEngine({ ...settings, slotsMax, contextTokens, log })
  }
  const { backend, silentMs } = engine
  const common = { backend, runTimes: { silentMs }, slotsMax, contextTokens, saltOf: saltOf(config), log }
  return createHttpEngine(engine.kind === 'attached' ? attached(engine, common) : await launched(engine, common))
}

type Common = Pick<HttpEngineOptions, 'backend' | 'runTimes' | 'slotsMax' | 'contextTokens' | 'saltOf' | 'log'>

function attached(
  { backend, url, apiKey }: Extract<EngineChoice, { kind: 'attached' }>,
  common: Common,
): HttpEngineOptions {
  return {
    ...common,
    ...{ url, apiKey },
    start: attach,
    rules: attachedRules(backend.name, url),
    supervisorTimes: { ...supervisorTimes, silentMs: attachSilentMs },
  }
}

async function launched(
  choice: Extract<EngineChoice, { kind: 'launched' }>,
  common: Common,
): Promise<HttpEngineOptions> {
  const { backend } = choice
  const settings: LaunchSettings = {
    ...choice.settings,
    port: choice.settings.port || (await freePort(choice.settings.host)),
    // Other programs on this machine must not use the engine: no ledger would record their use.
    apiKey: choice.settings.apiKey ?? randomBytes(24).toString('base64url'),
  }
  const command = commandOf(choice, settings)
  const lines: string[] = []
  const passOn = new LogLines(
    (line) => common.log(`${backend.name}: ${line}`),
    () => performance.now(),
  )
  const line = (text: string) => {
    if (text.trim() === '') return
    lines.push(cleanText(text, lineMax))
    if (lines.length > linesKept) lines.shift()
    passOn.push(text)
  }
  return {
    ...common,
    url: `http://${settings.host}:${settings.port}`,
    apiKey: settings.apiKey,
    enables: command.enables,
    start: () => launch(command, { graceMs, line }),
    rules: launchedRules(backend.name, () => lastError(lines)),
    supervisorTimes: { ...supervisorTimes, loadMs: command.readyWithinMs, silentMs: command.readyWithinMs },
  }
}

/** Returns the adapter's launch command, with the operator's program if configured. */
function commandOf(
  { backend, program }: Extract<EngineChoice, { kind: 'launched' }>,
  settings: LaunchSettings,
): Launch {
  const described = backend.launch?.(settings)
  if (!described) throw new Error(`${backend.name} cannot be launched. Start it yourself and set TRAMONTANE_ENGINE_URL`)
  return { ...described, command: program ?? described.command }
}

/** Returns the last line that mentions an error, or else the last line. */
function lastError(lines: readonly string[]): string {
  const about = lines.findLast((line) => /error|failed|cannot|out of memory|no such/i.test(line))
  return (about ?? lines.at(-1) ?? '').trim().replace(/\.$/, '')
}

function saltOf({ key, prefixes }: Config): (owner: string) => string {
  if (prefixes === 'shared') return () => ''
  return (owner) => createHmac('sha256', key.secret).update(`prefix salt ${owner}`).digest('base64url')
}

async function freePort(host: string): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve, reject) => {
    probe.once('error', reject)
    probe.listen(0, host, resolve)
  })
  const address = probe.address()
  await new Promise((resolve) => probe.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port is free')
  return address.port
}
