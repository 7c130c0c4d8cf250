/** A Python environment with mistral-common, in a folder of its own. */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { interpreterIn, systemPython } from '../../support/python-environment.ts'

/** The version that the committed files come from. */
const mistralCommon = '1.13.1'
/** For chat templates. */
const jinja = '3.1.6'

const run = promisify(execFile)
const missing =
  'npm run parity needs Python 3.10 or newer with the venv module. Install it (for example python3 and python3-venv), or' +
  ' name an environment that has mistral-common: npm run parity -- --venv FOLDER'

/** The path of the environment's interpreter. Installs what is missing. */
export async function environmentAt(folder: string): Promise<string> {
  const python = interpreterIn(folder)
  if (!existsSync(python)) {
    const system = await systemPython()
    if (!system) throw new Error(missing)
    await run(system, ['-m', 'venv', folder]).catch(() => Promise.reject(new Error(missing)))
  }
  const versions = 'import jinja2, mistral_common; print(mistral_common.__version__, jinja2.__version__)'
  const installed = await run(python, ['-c', versions]).catch(() => null)
  if (installed?.stdout.trim() !== `${mistralCommon} ${jinja}`) {
    console.error(`installing mistral-common ${mistralCommon} and jinja2 ${jinja} …`)
    await run(python, ['-m', 'pip', 'install', '--quiet', `mistral-common==${mistralCommon}`, `jinja2==${jinja}`])
  }
  return python
}

/** Runs a script of this folder: `python SCRIPT input.json output.json`. */
export async function runScript(python: string, script: string, folder: string, input: unknown): Promise<unknown> {
  const [from, to] = [join(folder, 'input.json'), join(folder, 'output.json')]
  writeFileSync(from, JSON.stringify(input))
  const path = fileURLToPath(new URL(script, import.meta.url))
  await run(python, [path, from, to], { maxBuffer: 16 * 1024 * 1024, env: { ...process.env, PYTHONUTF8: '1' } })
  return JSON.parse(readFileSync(to, 'utf8'))
}
