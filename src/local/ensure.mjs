// Installs missing packages for `npm start`, with `--dev` also those of the tests. Then builds the documentation; with
// `--docs` it only does that. Runs on the machine's own Node (20 or newer) before anything is installed, so it uses no
// package and only old syntax. The install includes Node 24, which everything else runs on.
import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..')
const marker = join(root, 'node_modules', '.package-lock.json')
const lock = join(root, 'package-lock.json')

const dev = process.argv.includes('--dev')
const missing = dev && !existsSync(join(root, 'node_modules', 'vitest'))
const stale = missing || !existsSync(marker) || statSync(marker).mtimeMs < statSync(lock).mtimeMs
// Wrangler runs this script with `--docs` during a build, when packages must not be replaced.
if (stale && !process.argv.includes('--docs')) install()

const node = join(root, 'node_modules', '.bin', process.platform === 'win32' ? 'node.cmd' : 'node')
if (!existsSync(node) && Number(process.versions.node.split('.')[0]) < 24) {
  fail(`No packaged Node 24 for ${process.platform}-${process.arch}. Install Node 24 and run the command again.`)
}

const build = spawnSync(existsSync(node) ? node : process.execPath, [join(root, 'src', 'local', 'build-docs.ts')], {
  cwd: root,
  stdio: ['ignore', 'inherit', 'inherit'],
  shell: process.platform === 'win32',
})
if (build.status !== 0) fail('The documentation build failed. See the error above.')

function install() {
  process.stderr.write('Installing packages (once; about half a minute) …\n')
  // No package needs an install script, so scripts are off. Engine warnings concern the Node that runs npm, not ours.
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', ...(dev ? [] : ['--omit=dev'])]
  const npm = process.env.npm_execpath
  const run = npm
    ? spawnSync(process.execPath, [npm, ...args], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] })
    : spawnSync('npm', args, { cwd: root, stdio: ['ignore', 'ignore', 'inherit'], shell: process.platform === 'win32' })
  if (run.status !== 0)
    fail('npm ci failed. See the error above, check the network or the registry, and run the command again.')
}

function fail(message) {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}
