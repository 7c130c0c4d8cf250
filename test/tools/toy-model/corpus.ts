/**
 * Writes the training text: `node corpus.ts FOLDER [CHATS] [SEED]` makes FOLDER/train.bin and FOLDER/held.bin, token
 * ids as 16-bit integers, and learns tokenizer.json beside this file when there is none yet. The tokenizer is kept:
 * weights belong to their vocabulary.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { chatText } from './chat.ts'
import { chat } from './mixture.ts'
import { type Random, random, type Split } from './random.ts'
import { encoder, learn, spelled, type Tokenizer } from './tokenizer.ts'

const SIZE = { vocabulary: 2048, spacedWords: 500 }
const HELD_CHATS = 3000
const PORTION = 5000
const LEARNING_CHATS = 20_000
const TOKENIZER_PATH = join(import.meta.dirname, 'tokenizer.json')

const [folder = 'corpus', chats = '400000', seed = '1'] = process.argv.slice(2)

function texts(source: Random, split: Split, count: number): string[] {
  return Array.from({ length: count }, () => chatText(chat(source, split)))
}

function tokenizer(): Tokenizer {
  if (existsSync(TOKENIZER_PATH)) return spelled(JSON.parse(readFileSync(TOKENIZER_PATH, 'utf8')))
  const learnt = learn(texts(random(0), 'train', LEARNING_CHATS), SIZE)
  writeFileSync(TOKENIZER_PATH, `${JSON.stringify({ merges: learnt.merges, words: learnt.words }, null, 2)}\n`)
  return learnt
}

/** Appended in portions, since tens of millions of ids are too many for one JavaScript array. */
function write(name: string, split: Split, source: Random, count: number, encode: (text: string) => number[]): void {
  const path = join(folder, name)
  let total = 0
  writeFileSync(path, '')
  for (let done = 0; done < count; done += PORTION) {
    const ids = texts(source, split, Math.min(PORTION, count - done)).flatMap(encode)
    appendFileSync(path, new Uint8Array(Uint16Array.from(ids).buffer))
    total += ids.length
  }
  console.log(`${name}: ${count} chats, ${total} tokens`)
}

mkdirSync(folder, { recursive: true })
const encode = encoder(tokenizer())
write('held.bin', 'held', random(Number(seed) + 1_000_000), HELD_CHATS, encode)
write('train.bin', 'train', random(Number(seed)), Number(chats), encode)
