// Installs what is missing: for `npm start` what the product runs on, with `--dev` what the tests need as well. Then builds
// the documentation; with `--docs` it only does that. Runs on the machine's own Node (20 or newer) with nothing installed
// yet, so it uses no package and only old syntax. Node 24, which everything else runs on, comes with the install.
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
// Wrangler runs this with `--docs` in the middle of a build, when packages must not be replaced.
if (stale && !process.argv.includes('--docs')) install()

const node = join(root, 'node_modules', '.bin', process.platform === 'win32' ? 'node.cmd' : 'node')
if (!existsSync(node) && Number(process.versions.node.split('.')[0]) < 24) {
  fail(
    `there is no packaged Node 24 for ${process.platform}-${process.arch}: install Node 24 yourself and run this again`,
  )
}

const build = spawnSync(existsSync(node) ? node : process.execPath, [join(root, 'src', 'local', 'build-docs.ts')], {
  cwd: root,
  stdio: ['ignore', 'inherit', 'inherit'],
  shell: process.platform === 'win32',
})
if (build.status !== 0) fail('the documentation was not built: see above')

function install() {
  process.stderr.write('Installing packages (once; about half a minute) …\n')
  // No package needs an install script, so none is run. Engine warnings are about the Node that runs npm, not ours.
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', ...(dev ? [] : ['--omit=dev'])]
  const npm = process.env.npm_execpath
  const run = npm
    ? spawnSync(process.execPath, [npm, ...args], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] })
    : spawnSync('npm', args, { cwd: root, stdio: ['ignore', 'ignore', 'inherit'], shell: process.platform === 'win32' })
  if (run.status !== 0) fail('npm ci failed: see above; check the network or the registry, then run this again')
}

function fail(sentence) {
  process.stderr.write(`${sentence}\n`)
  process.exit(1)
}
