/**
 * `npm run attack`: starts a product and attacks it while a well-behaved tenant uses it.
 *
 *   npm run attack                 run all attacks
 *   npm run attack -- --quick      run the attacks that `npm test` runs
 *   npm run attack -- schema pdf   run the attacks whose name contains one of the words
 */
import { parseArgs } from 'node:util'
import { attacks } from './attacks.ts'
import { headline, perform, row } from './perform.ts'

const { values, positionals } = parseArgs({ options: { quick: { type: 'boolean' } }, allowPositionals: true })
const chosen = attacks.filter(
  ({ name, quick }) =>
    (!values.quick || quick) && (positionals.length === 0 || positionals.some((word) => name.includes(word))),
)
if (chosen.length === 0) {
  process.stderr.write(`no attack matches. Available: ${attacks.map(({ name }) => name).join(', ')}\n`)
  process.exit(2)
}

process.stdout.write(
  `${chosen.length} attacks. A neighbour streams and sends one request per second. Starting the product …\n`,
)
const startedAt = performance.now()
let failed = 0
const results = await perform(chosen, (result, index) => {
  if (index === 0) process.stdout.write(headline())
  if (result.faults.length > 0) failed += 1
  const elapsed = (performance.now() - startedAt) / 1_000
  const leftS = Math.round((elapsed / (index + 1)) * (chosen.length - index - 1))
  process.stdout.write(`${row(result)}${process.stdout.isTTY ? `   (about ${leftS} s left)` : ''}\n`)
})
process.stdout.write(
  `\n${results.length - failed} of ${results.length} within the limits, in ${Math.round((performance.now() - startedAt) / 1_000)} s\n`,
)
process.exit(failed > 0 ? 1 : 0)
