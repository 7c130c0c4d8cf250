/**
 * Stops the library from loading its CPU build with AMX.
 *
 * On CPUs with AMX llama.cpp v0.4.0 puts the weight `attn_v_b` of MLA models into an AMX buffer although the real
 * operand is a view that its AMX code refuses, and then aborts when the context is made (GGML_ASSERT(*cur_backend_id
 * != -1), seen on a Sapphire Rapids Xeon with `mistral4` at Q8_0). The other CPU builds in the package work. The
 * library loads no CPU build if one is loaded already, so we load the best of the others first. Remove this with the
 * first node-llama-cpp whose llama.cpp loads the tiny model on such a machine.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

const withAmx = 'libggml-cpu-sapphirerapids.so'
const require = createRequire(import.meta.url)

/**
 * Call before `getLlama`. Does nothing if a GPU may be used and its package is installed: that package has its own
 * libraries, which must not be mixed with these.
 */
export function preferCpuWithoutAmx(gpu: false | 'auto'): void {
  if (process.platform !== 'linux' || process.arch !== 'x64') return
  if (gpu === 'auto' && (binaries('linux-x64-cuda') ?? binaries('linux-x64-vulkan'))) return
  const bins = binaries('linux-x64')
  if (!bins || !existsSync(join(bins, withAmx))) return
  const others = mkdtempSync(join(tmpdir(), 'tramontane-cpu-'))
  try {
    for (const name of readdirSync(bins))
      if (name.startsWith('libggml-cpu-') && name !== withAmx) symlinkSync(join(bins, name), join(others, name))
    require(join(bins, 'llama-addon.node')).loadBackends(others)
  } finally {
    rmSync(others, { recursive: true, force: true })
  }
}

/**
 * Returns the folder of the library's binaries of one kind, or undefined. An install without them has an empty package.
 */
export function binaries(kind: string): string | undefined {
  try {
    const library = createRequire(require.resolve('node-llama-cpp'))
    const bins = join(dirname(library.resolve(`@node-llama-cpp/${kind}`)), '..', 'bins', kind)
    return existsSync(bins) ? bins : undefined
  } catch {
    return undefined
  }
}
