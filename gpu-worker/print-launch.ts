/** A profile as the line that starts its engine, for a person to read or to run by hand. Needs no GPU and no key. */
import type { Launch } from '../backends/contract/backend.ts'
import type { EngineConfig } from './config.ts'

/** What is printed for "any free port". */
const printedPort = 8_000

export function launchLine({ engine, pool, slotsMax, contextTokens, model }: EngineConfig): string {
  switch (engine.kind) {
    case 'embedded': {
      const { modelPath, batchTokens, prefillChunkTokens, threads, gpu } = engine
      return (
        `The embedded engine is no program of its own. Pool ${pool}: model ${model.id} (${modelPath}), ${slotsMax} slots of ` +
        `${contextTokens} tokens, batch ${batchTokens}, prefill chunk ${prefillChunkTokens}, ${threads} threads, GPU ` +
        `${gpu === 'auto' ? 'auto' : 'off'}, no speculation.`
      )
    }
    case 'attached':
      return `${engine.backend.name} at ${engine.url} is started by somebody else; leave out TRAMONTANE_ENGINE_URL to see how it would be started here.`
    case 'launched': {
      const { backend, program, settings } = engine
      const described = backend.launch?.({ ...settings, port: settings.port || printedPort })
      return described
        ? shellLine({ ...described, command: program ?? described.command })
        : `${backend.name} cannot be started from here.`
    }
  }
}

function shellLine({ env, command, args }: Pick<Launch, 'env' | 'command' | 'args'>): string {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${quote(value)}`)
  return [...variables, ...[command, ...args].map(quote)].join(' ')
}

function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
