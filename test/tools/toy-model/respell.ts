/**
 * After a change of tokenizer: `node respell.ts OLD.json NEW.json` prints, for each token of the new vocabulary, the
 * ids that spelled the same text before. `train.py --respell` initialises each new embedding row with the mean of
 * those.
 */
import { readFileSync } from 'node:fs'
import { CONTROL, encoder, spelled } from './tokenizer.ts'

const [before, after] = process.argv
  .slice(2, 4)
  .map((path) => spelled({ words: [], ...JSON.parse(readFileSync(path, 'utf8')) }))
if (!before || !after) throw new Error('usage: node respell.ts OLD.json NEW.json')
const encode = encoder(before)
const known = new Map(before.tokens.map((token, id) => [token, id]))
const bytes = new Map(
  after.tokens.slice(CONTROL.length, CONTROL.length + 256).map((character, byte) => [character, byte]),
)

/** A word that had a token only together with its space starts as that token. */
function idsOf(token: string): number[] {
  const id = known.get(token) ?? known.get(`Ġ${token}`)
  return id === undefined ? encode(Buffer.from(Array.from(token, (each) => bytes.get(each) ?? 0)).toString()) : [id]
}

console.log(JSON.stringify(after.tokens.map(idsOf)))
