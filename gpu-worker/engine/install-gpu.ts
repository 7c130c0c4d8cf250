/**
 * `npm run gpu -- cuda|vulkan` installs the engine's GPU binaries, which the default install omits (640 MB). They are
 * npm packages with the engine's version, unpacked into the folder where the engine searches for them.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const packages: Record<string, string[]> = {
  'linux-x64 cuda': ['linux-x64-cuda', 'linux-x64-cuda-ext'],
  'linux-x64 vulkan': ['linux-x64-vulkan'],
  'win32-x64 cuda': ['win-x64-cuda', 'win-x64-cuda-ext'],
  'win32-x64 vulkan': ['win-x64-vulkan'],
}

const modules = fileURLToPath(new URL('../../node_modules/', import.meta.url))
const kind = process.argv[2] ?? ''
const wanted = packages[`${process.platform}-${process.arch} ${kind}`]
if (!wanted) {
  process.stderr.write(
    `npm run gpu: no "${kind}" build exists for ${process.platform}-${process.arch}. Use cuda or vulkan on linux-x64 or win32-x64.\n`,
  )
  process.exit(1)
}

const { version } = JSON.parse(readFileSync(join(modules, 'node-llama-cpp', 'package.json'), 'utf8')) as {
  version: string
}
const temporary = mkdtempSync(join(tmpdir(), 'tramontane-gpu-'))
try {
  for (const name of wanted) {
    process.stdout.write(`@node-llama-cpp/${name}@${version} …\n`)
    const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm'
    const packed = execFileSync(
      npm,
      ['pack', '--silent', '--pack-destination', temporary, `@node-llama-cpp/${name}@${version}`],
      {
        encoding: 'utf8',
        shell: process.platform === 'win32',
      },
    )
    const target = join(modules, '@node-llama-cpp', name)
    rmSync(target, { recursive: true, force: true })
    mkdirSync(target, { recursive: true })
    execFileSync('tar', ['-xzf', join(temporary, packed.trim()), '-C', target, '--strip-components', '1'])
  }
} finally {
  rmSync(temporary, { recursive: true, force: true })
}
process.stdout.write('Done. Start with TRAMONTANE_GPU=auto npm start\n')
