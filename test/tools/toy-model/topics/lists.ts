import { type Exchange, exchange } from '../chat.ts'
import { drawn, type Random, type Split } from '../random.ts'
import { ANIMALS, article, capital, name, noun } from '../words.ts'

/**
 * Lists of an asked length. The categories are few and known by heart, always in one order: a model that decodes greedily
 * then never repeats an item. The whole question (wording, count, category) is what is split.
 */
export const CATEGORIES: { readonly [category: string]: readonly string[] } = {
  animals: ANIMALS.slice(0, 30),
  fruits: 'apple pear plum cherry peach lemon orange banana grape melon mango fig'.split(' '),
  vegetables: 'carrot onion potato cabbage leek pea bean spinach pumpkin radish tomato celery'.split(' '),
  colours: 'red blue green yellow orange purple brown black white grey pink'.split(' '),
  tools: 'hammer saw drill wrench pliers screwdriver axe chisel shovel rake'.split(' '),
  instruments: 'piano violin flute drum guitar harp trumpet cello organ horn'.split(' '),
  trees: 'oak pine birch maple willow ash elm beech cedar fir'.split(' '),
  birds: 'owl sparrow crow raven eagle heron stork swan goose duck robin'.split(' '),
  drinks: 'water tea coffee milk juice lemonade cocoa cider'.split(' '),
  clothes: 'shirt coat hat scarf sock shoe glove dress jacket belt'.split(' '),
  rooms: 'kitchen bedroom bathroom hall cellar attic study library'.split(' '),
  sports: 'football tennis swimming running rowing skiing boxing cycling hockey golf'.split(' '),
}

const NUMBER_WORDS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven']

const ASK = [
  (n: string, what: string) => `List ${n} ${what}.`,
  (n: string, what: string) => `Give me ${n} ${what}.`,
  (n: string, what: string) => `Name ${n} ${what}.`,
  (n: string, what: string) => `Can you name ${n} ${what}?`,
  (n: string, what: string) => `Write a list of ${n} ${what}.`,
  (n: string, what: string) => `I need ${n} ${what}.`,
]

export function list(random: Random, split: Split): Exchange {
  return random.chance(0.6) ? categoryList(random, split) : thingsAbout(random, split)
}

function categoryList(random: Random, split: Split): Exchange {
  const make = () => {
    const count = random.integer(2, 7)
    const category = random.pick(Object.keys(CATEGORIES))
    return { category, count, ask: random.pick(ASK)(number(random, count), category) }
  }
  const { category, count, ask } = drawn(split, make, (asked) => asked.ask)
  const items = (CATEGORIES[category] ?? []).slice(0, count)
  return { ...exchange(ask, `The user wants ${count} ${category}.`, numbered(items)), subject: category }
}

const IDEAS = [
  (x: string) => `Take ${x} for a walk.`,
  (x: string) => `Draw ${x} in colour.`,
  (x: string) => `Write a song about ${x}.`,
  (x: string) => `Show ${x} to a friend.`,
  (x: string) => `Tell a story about ${x}.`,
  (x: string) => `Build a house for ${x}.`,
  (x: string) => `Give ${x} a new name.`,
  (x: string) => `Take a picture of ${x}.`,
]

function thingsAbout(random: Random, split: Split): Exchange {
  const what = noun(random, split)
  const x = random.chance(0.6) ? article(what) : name(random, split)
  const count = random.integer(2, 5)
  const n = number(random, count)
  const ask = random.pick([
    `Give me ${n} ideas for things to do with ${x}.`,
    `List ${n} things to do with ${x}.`,
    `Give me ${n} ideas about ${x}.`,
    `Write ${n} ideas for ${x}.`,
    `I need ${n} ideas for ${x}.`,
  ])
  const items = IDEAS.slice(0, count).map((idea) => idea(x))
  return { ...exchange(ask, `The user wants ${count} ideas for ${x}.`, numbered(items)), subject: x }
}

function number(random: Random, count: number): string {
  return random.chance(0.5) ? String(count) : (NUMBER_WORDS[count] ?? String(count))
}

function numbered(items: readonly string[]): string {
  return items.map((item, index) => `${index + 1}. ${capital(item)}`).join('\n')
}
