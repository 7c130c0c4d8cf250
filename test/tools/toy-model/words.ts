import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { drawn, type Random, type Split, splitOf } from './random.ts'
import type { Spelling } from './tokenizer.ts'

/** The vocabularies that topics draw from. Invented words make copying from the prompt the only way to be right. */
const FIRST_NAMES =
  'Mia Tom Anna Leo Nora Sam Lily Ben Ella Max Ruth Omar Ivy Jack Sara Finn Clara Hugo Zoe Amir Lena Paul Rosa Kenji Maya Ivan Lucia Noah Aisha Erik Priya Felix Greta Diego Yuki Marta Jonas Leila Otto Nina Tariq Elsa Pablo Wei Ada Boris Carmen Dora Emil Freya Gino Helga Igor Julia Karl Laila Milo Olga Pia Quinn Rita Sven Tara Uma Vera Walt Xenia Yara Zane Alice Bruno Celia David Edith Frank Gloria Henry Irene Jasper Kira Liam Mabel Nadia Oscar Petra Ravi Simon Theo Ursula Victor Wanda'.split(
    ' ',
  )

const CITIES =
  'Paris Berlin Oslo Rome Madrid Lagos Tokyo Lima Cairo Boston Delhi Porto Vienna Prague Dublin Lisbon Athens Warsaw Helsinki Stockholm Copenhagen Brussels Amsterdam Zurich Geneva Milan Naples Turin Venice Seville Valencia Bilbao Lyon Nice Lille Bordeaux Marseille Toulouse London Leeds Bristol Glasgow Cardiff Belfast Cork Toronto Montreal Vancouver Chicago Denver Austin Dallas Houston Seattle Portland Miami Atlanta Havana Bogota Quito Caracas Santiago Montevideo Nairobi Accra Dakar Tunis Rabat Algiers Kampala Lusaka Harare Mumbai Chennai Kolkata Karachi Lahore Dhaka Colombo Bangkok Hanoi Manila Jakarta Singapore Seoul Osaka Kyoto Beijing Shanghai Sydney Perth Brisbane Auckland Wellington Ankara Izmir Beirut Amman Tehran Baku Tbilisi Yerevan Kyiv Riga Vilnius Tallinn Minsk Sofia Bucharest Belgrade Zagreb Ljubljana Bratislava Budapest'.split(
    ' ',
  )

export const ANIMALS =
  'fox cat dog owl rabbit bear mouse horse duck goat turtle sparrow wolf deer lion tiger hen goose swan frog crow raven eagle otter beaver badger hedgehog squirrel donkey camel whale dolphin seal penguin heron stork bee ant snail spider lizard parrot monkey elephant giraffe zebra panda koala'.split(
    ' ',
  )

export const THINGS =
  'lamp key map kite boat basket clock book lantern bell ball box drum mirror coat hat chair table cup spoon bridge wheel candle rope ladder piano violin flute letter stamp coin ring button needle brush bucket kettle teapot pillow blanket wagon bicycle train balloon telescope compass robot statue fountain umbrella suitcase garden window door'.split(
    ' ',
  )

const PEOPLE =
  'baker farmer sailor teacher painter gardener miller shepherd tailor singer dancer pilot doctor nurse king queen prince princess knight wizard giant fisherman carpenter clockmaker librarian postman captain engineer astronaut detective'.split(
    ' ',
  )

const ADJECTIVES =
  'small kind brave curious shy clever patient cheerful quiet gentle old young red blue green golden silver tired hungry lonely happy lost tiny tall lazy proud clumsy sleepy friendly wild'.split(
    ' ',
  )

const MATTERS =
  'music history mathematics physics chemistry biology geography football chess cooking gardening painting poetry philosophy politics religion economics astronomy medicine law fashion cinema theatre dancing travel fishing weather money love friendship happiness sleep health sport computers robots internet language grammar science art volcanoes planets oceans rivers mountains deserts forests dinosaurs insects birds bread cheese coffee tea wine chocolate sugar salt rice pasta pizza soup'.split(
    ' ',
  )

export const COMMON_WORDS =
  'the a of and to in is that it was for on with as at by this not are but from or have an they which one you were all her she there would their we him been has when who will no more if out so what up said about into than its time only could new them some these two may then do first any my now such like our over man me even most made after also did many must before back years where much your way well down should because each just those people how too little state good very make world still own see men work long get here between both life being under never day same another know while last might us great old year off come since against go came right used take three states himself few house use during without again place around however small found thought went part once general high upon school every last hand point keep children city country water name night company number important story read write paint song play child mother father war king road food money heart mind body light sun moon star fire snow rain tree flower answer question number letter window paper market planet engine bottle button finger winter summer spring autumn morning evening doctor teacher student office station airport hospital forest village island bridge castle temple palace kitchen bedroom garden basket blanket pillow mirror picture camera guitar violin trumpet police soldier general captain pirate monster dragon wizard yellow purple orange silver golden copper iron steel glass cotton leather rubber plastic wooden marble sudden gentle bitter sweet simple modern ancient foreign native public private perfect strange certain careful useful wonderful beautiful important different difficult dangerous interesting possible terrible comfortable remember forget believe understand explain describe discover invent develop improve increase reduce produce provide protect prevent prepare promise propose pretend practise suggest support suppose surprise explore finish follow happen listen notice offer travel visit wander whisper wonder worry yesterday tomorrow tonight always never often sometimes perhaps maybe almost quite rather within without beyond beneath beside against toward among off inn ugly unit utter oven over open ever every each eager early ease east echo edge effort eight either elbow else empty enemy enjoy enough enter equal error escape event exact except excite excuse exist expect expert extra'.split(
    ' ',
  )

const ONSETS = 'b br d dr f fl g gr h j k kl l m n p pl qu r s sh sk st t th tr v w z'.split(' ')
const VOWELS = 'a e i o u a e i o ai ea ou'.split(' ')
const CODAS = ['', '', '', 'n', 'r', 'l', 's', 'm', 'k', 'x', 'nd', 'rt']

/** A made-up word, unseen ones when held out. */
export function inventedWord(random: Random, split: Split): string {
  const make = (): string => random.pick([glued, syllables, spelled])(random)
  return drawn(split, make, (word) => word)
}

function syllables(random: Random): string {
  const syllable = (): string => random.pick(ONSETS) + random.pick(VOWELS) + random.pick(CODAS)
  return Array.from({ length: random.chance(0.75) ? 2 : 3 }, syllable).join('')
}

/** One or two pieces of the vocabulary, each as likely: a token that is never copied in training cannot be copied later. */
function spelled(random: Random): string {
  const piece = (): string => random.pick(VOCABULARY_PIECES)
  return random.chance(0.4) ? piece() : piece() + piece().toLowerCase()
}

/** The front of one word and the back of another. */
function glued(random: Random): string {
  const part = (): string => random.pick(PIECES).toLowerCase()
  return part().slice(0, random.integer(1, 5)) + part().slice(-random.integer(1, 5))
}

/** A word to be copied piece by piece: any token may open it and any may follow, or one letter of a known word is another. */
export function rareWord(random: Random, split: Split): string {
  return drawn(
    split,
    () => random.pick([chained, chained, chained, altered, spaced, spaced])(random),
    (word) => word,
  )
}

/** A piece of the vocabulary, each as likely, and up to two more pieces or letters. */
function chained(random: Random): string {
  const more = (): string => (random.chance(0.2) ? random.pick(LETTERS) : random.pick(VOCABULARY_PIECES).toLowerCase())
  const pieces = Array.from({ length: random.pick([0, 1, 1, 1, 2]) }, more)
  return random.pick(VOCABULARY_PIECES) + pieces.join('')
}

/** A word that is another token after a space than elsewhere, each as likely: both have to be known as one. */
function spaced(random: Random): string {
  return random.pick(SPACED)
}

/** A word of the lists with one letter replaced, left out or put in. */
function altered(random: Random): string {
  const word = random.pick(PIECES)
  const at = random.integer(0, word.length - 1)
  const letter = random.chance(0.7) ? random.pick(LETTERS) : ''
  return word.slice(0, at) + letter + word.slice(at + random.integer(0, 1))
}

export function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1)
}

export function article(noun: string): string {
  return `${/^[aeiou]/.test(noun) ? 'an' : 'a'} ${noun}`
}

const inSplit = (list: readonly string[]): { [split in Split]: readonly string[] } => ({
  train: list.filter((word) => splitOf(word) === 'train'),
  held: list.filter((word) => splitOf(word) === 'held'),
})

const LETTERS = [...'abcdefghijklmnopqrstuvwxyz']
const { pieces: VOCABULARY_PIECES, spaced: SPACED } = vocabulary()

/** The letter groups that the tokenizer has learnt; before it has learnt any, the common words stand in. */
function vocabulary(): { pieces: readonly string[]; spaced: readonly string[] } {
  const path = join(import.meta.dirname, 'tokenizer.json')
  if (!existsSync(path)) return { pieces: COMMON_WORDS, spaced: COMMON_WORDS }
  const { merges, words }: Spelling = JSON.parse(readFileSync(path, 'utf8'))
  const pieces = merges.map((pair) => pair.replace(' ', '')).filter((piece) => /^[A-Za-z]+$/.test(piece))
  return { pieces, spaced: words.map((word) => word.slice(1)) }
}

const PIECES = inSplit([...FIRST_NAMES, ...CITIES, ...ANIMALS, ...THINGS, ...PEOPLE, ...MATTERS, ...COMMON_WORDS]).train
const NAMES = inSplit(FIRST_NAMES)
const CITY = inSplit(CITIES)
const NOUN = inSplit([...ANIMALS, ...THINGS, ...PEOPLE])
const MATTER = inSplit(MATTERS)
const COMMON = inSplit(COMMON_WORDS)

/** A first name; half of them invented, so that no list of names is enough. */
export function name(random: Random, split: Split): string {
  return random.chance(0.5) ? random.pick(NAMES[split]) : capital(inventedWord(random, split))
}

export function city(random: Random, split: Split): string {
  return random.chance(0.6) ? random.pick(CITY[split]) : capital(inventedWord(random, split))
}

function anyWord(random: Random, split: Split): string {
  return random.chance(0.4) ? random.pick(COMMON[split]) : inventedWord(random, split)
}

/** Something a story can be about: "fox", "old clockmaker", "blorven". */
export function noun(random: Random, split: Split): string {
  return random.chance(0.5) ? random.pick(NOUN[split]) : anyWord(random, split)
}

export function adjective(random: Random): string {
  return random.pick(ADJECTIVES)
}

/** A field of knowledge or an everyday matter that the model knows nothing about. */
export function matter(random: Random, split: Split): string {
  return random.chance(0.5) ? random.pick(MATTER[split]) : anyWord(random, split)
}

/** An identifier such as an order number: letters and digits that can only be copied. */
export function code(random: Random): string {
  const letters = Array.from({ length: random.integer(1, 2) }, () => random.pick([...'ABCDEFGHJKLMNPQRSTUVWXYZ'])).join(
    '',
  )
  return `${letters}-${random.integer(10, 9999)}`
}
