/**
 * Prints a profile as the command that starts its engine, to read or to run by hand. Needs no GPU and no key. Lines that
 * begin with # explain it.
 */
import type { Launch } from '../backends/contract/backend.ts'
import type { EngineConfig } from './config.ts'

/** Port to print for "any free port". */
const printedPort = 8_000

export function launchLine({ engine, pool, slotsMax, contextTokens, model }: EngineConfig): string {
  switch (engine.kind) {
    case 'embedded': {
      const { modelPath, batchTokens, prefillChunkTokens, threads, gpu } = engine
      return (
        `The embedded engine runs inside the worker. Pool ${pool}: model ${model.id} (${modelPath}), ${slotsMax} slots of ` +
        `${contextTokens} tokens, batch ${batchTokens}, prefill chunk ${prefillChunkTokens}, ${threads} threads, GPU ` +
        `${gpu === 'auto' ? 'auto' : 'off'}, no speculation.`
      )
    }
    case 'attached':
      return `The worker attaches to ${engine.backend.name} at ${withoutPassword(engine.url)} and does not launch it. Unset TRAMONTANE_ENGINE_URL to print the launch command.`
    case 'launched': {
      const { backend, program, settings } = engine
      const described = backend.launch?.({ ...settings, port: settings.port || printedPort })
      if (!described) return `The worker cannot launch ${backend.name}.`
      const notes = [...engine.notes, ...described.notes].map((note) => `# ${note}\n`)
      return notes.join('') + shellLine({ ...described, command: program ?? described.command })
    }
  }
}

function shellLine({ env, command, args }: Pick<Launch, 'env' | 'command' | 'args'>): string {
  const secrets = new Set(Object.entries(env).flatMap(([name, value]) => (isSecret.test(name) ? [value] : [])))
  const shown = (word: string) => (secrets.has(word) ? hidden : quote(word))
  const variables = Object.entries(env).map(([name, value]) => `${name}=${shown(value)}`)
  const words = [command, ...args].map((word, index, all) =>
    isSecretFlag.test(all[index - 1] ?? '') ? hidden : shown(word),
  )
  return [...variables, ...words].join(' ')
}

/** What is printed may end up in a log or a ticket. */
const isSecret = /KEY|SECRET|TOKEN|PASSWORD/
const isSecretFlag = /^--[a-z-]*(key|token|secret|password)$/
const hidden = "'<hidden>'"

function withoutPassword(url: string): string {
  const shown = new URL(url)
  shown.username = ''
  shown.password = ''
  return shown.href
}

function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
