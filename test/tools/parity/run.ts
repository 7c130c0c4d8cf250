/**
 * `npm run parity` compares this product with the reference implementation, mistral-common, which it installs into a
 * temporary folder. It needs Python 3.10 or newer and a package index.
 *
 *   npm run parity                  run all sections
 *   npm run parity -- prompts       run the sections whose name contains one of the words
 *   npm run parity -- --venv FOLDER create or use this Python environment, and keep it
 *   npm run parity -- --write       write the committed ids again
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { histories } from './histories.ts'
import { images } from './images.ts'
import { prompts } from './prompts.ts'
import { environmentAt, runScript } from './python.ts'
import { schemas } from './schemas.ts'
import { schemastore } from './schemastore.ts'
import type { Section } from './section.ts'
import { template } from './template.ts'
import { tokenizer } from './tokenizer.ts'
import { toolTexts } from './tool-texts.ts'

const sections: readonly Section[] = [tokenizer, prompts, histories, template, toolTexts, images, schemas, schemastore]
const faultsShown = 20

const { values, positionals } = parseArgs({
  options: { venv: { type: 'string' }, write: { type: 'boolean', default: false } },
  allowPositionals: true,
})
const chosen = sections.filter(
  ({ name }) => positionals.length === 0 || positionals.some((word) => name.includes(word)),
)
if (chosen.length === 0) {
  console.error(`no section matches. Available: ${sections.map(({ name }) => name).join(', ')}`)
  process.exit(2)
}

const folder = mkdtempSync(join(tmpdir(), 'tramontane-parity-'))
let failed = 0
try {
  const interpreter = await environmentAt(values.venv === undefined ? join(folder, 'python') : resolve(values.venv))
  const python = (script: string, input: unknown) => runScript(interpreter, script, folder, input)
  const { version, vocabulary } = (await python('reference.py', {})) as { version: string; vocabulary: string }
  const root = fileURLToPath(new URL('../../..', import.meta.url))
  for (const section of chosen) {
    console.log(`\n## ${section.name}: mistral-common ${version}\n`)
    const { lines, faults } = await section.run({
      ...{ root, folder, version, python },
      vocabularyPath: vocabulary,
      write: values.write,
    })
    for (const line of lines) console.log(line)
    for (const fault of faults.slice(0, faultsShown)) console.log(`✗ ${fault}`)
    if (faults.length > faultsShown) console.log(`✗ and ${faults.length - faultsShown} more`)
    failed += faults.length
  }
  console.log(failed === 0 ? '\nno difference' : `\n${failed} differences`)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  failed += 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
process.exit(failed > 0 ? 1 : 0)
