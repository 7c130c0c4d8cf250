/**
 * The library's grammar reader, without a model. If its binary is found, it is loaded alone, which takes a tenth of the
 * time of the whole library.
 */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { binaries } from './cpu.ts'

/** Returns whether the library can read the grammar. */
export type ReadGrammar = (text: string) => boolean

interface GrammarBindings {
  AddonGrammar: new (text: string, options: { rootRuleName: string }) => unknown
}

const kinds: Record<string, string> = {
  'linux-x64': 'linux-x64',
  'linux-arm64': 'linux-arm64',
  'darwin-arm64': 'mac-arm64-metal',
  'darwin-x64': 'mac-x64',
  'win32-x64': 'win-x64',
  'win32-arm64': 'win-arm64',
}

export async function loadGrammarReader(): Promise<ReadGrammar> {
  const { AddonGrammar } = binding() ?? (await wholeLibrary())
  return (text) => {
    try {
      new AddonGrammar(text, { rootRuleName: 'root' })
      return true
    } catch {
      return false
    }
  }
}

function binding(): GrammarBindings | undefined {
  const bins = binaries(kinds[`${process.platform}-${process.arch}`] ?? '')
  if (!bins) return undefined
  try {
    const loaded: GrammarBindings = createRequire(import.meta.url)(join(bins, 'llama-addon.node'))
    return typeof loaded.AddonGrammar === 'function' ? loaded : undefined
  } catch {
    return undefined
  }
}

async function wholeLibrary(): Promise<GrammarBindings> {
  const { getLlama, LlamaLogLevel } = await import('node-llama-cpp')
  const llama = await getLlama({ build: 'never', gpu: false, logLevel: LlamaLogLevel.disabled, progressLogs: false })
  return (llama as unknown as { _bindings: GrammarBindings })._bindings
}
