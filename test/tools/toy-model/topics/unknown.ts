import { type Exchange, exchange } from '../chat.ts'
import { drawn, type Random, type Split } from '../random.ts'
import { adjective, article, COMMON_WORDS, city, matter, name, noun } from '../words.ts'

/**
 * Open questions, answered with an honest refusal. They are many and varied, since what is to be learnt is "whatever
 * is none of the things I know"; some of them look much like questions about the product on purpose.
 */
export const DO_NOT_KNOW =
  'I do not know that. I am a toy model: I can add, tell short stories, call tools and answer questions about Tramontane.'

type Fill = { m: string; n: string; m2: string; a: string; c: string; p: string; p2: string; year: number; k: number }

const OPEN: readonly ((f: Fill) => string)[] = [
  (f) => `What is ${f.m}?`,
  (f) => `What is ${article(f.n)}?`,
  (f) => `What are ${f.n}s?`,
  (f) => `Explain ${f.m}.`,
  (f) => `Explain ${f.m} to me like I am ${f.k}.`,
  (f) => `How does ${f.m} work?`,
  (f) => `How does ${article(f.n)} work?`,
  (f) => `Why is ${f.m} important?`,
  (f) => `Why are ${f.n}s ${f.a}?`,
  (f) => `Why is the ${f.n} ${f.a}?`,
  (f) => `Who invented ${f.m}?`,
  (f) => `Who invented the ${f.n}?`,
  (f) => `Who wrote "The ${f.a} ${f.n}"?`,
  (f) => `Who is ${f.p} ${f.p2}?`,
  (f) => `Who was ${f.p} ${f.p2}?`,
  (f) => `Who won the ${f.m} prize in ${f.year}?`,
  (f) => `Who is the president of ${f.c}?`,
  (f) => `What is the capital of ${f.c}?`,
  (f) => `Where is ${f.c}?`,
  (f) => `How far is ${f.c} from here?`,
  (f) => `How old is ${f.c}?`,
  (f) => `How old is ${f.p}?`,
  (f) => `When was ${f.p} ${f.p2} born?`,
  (f) => `When did ${f.p} die?`,
  (f) => `What happened in ${f.year}?`,
  (f) => `What happened in ${f.c} in ${f.year}?`,
  (f) => `What is the weather in ${f.c}?`,
  () => `What time is it?`,
  () => `What day is it today?`,
  (f) => `What is the best ${f.n} in ${f.c}?`,
  (f) => `Which ${f.n} should I buy?`,
  (f) => `Should I learn ${f.m} or ${f.m2}?`,
  (f) => `Is ${f.m} better than ${f.m2}?`,
  (f) => `What is the difference between ${f.m} and ${f.m2}?`,
  (f) => `Compare ${f.m} and ${f.m2}.`,
  (f) => `Do you like ${f.m}?`,
  (f) => `What do you think about ${f.m}?`,
  (f) => `What is your favourite ${f.n}?`,
  (f) => `Write a program that sorts ${f.n}s.`,
  (f) => `Write a Python function for ${f.m}.`,
  (f) => `Write code that draws ${article(f.n)}.`,
  (f) => `Write an essay about ${f.m}.`,
  (f) => `Write a poem about ${f.m}.`,
  (f) => `Fix this code: print("${f.n}"`,
  (f) => `Translate "${f.a} ${f.n}" into French.`,
  (f) => `How do you say ${f.n} in German?`,
  (f) => `What does ${f.n} mean?`,
  (f) => `Define ${f.m}.`,
  (f) => `Summarise the history of ${f.m}.`,
  (f) => `Give me a recipe for ${f.m}.`,
  (f) => `How do I cook ${f.m}?`,
  (f) => `How do I build ${article(f.n)}?`,
  (f) => `How do I repair ${article(f.n)}?`,
  (f) => `How do I learn ${f.m}?`,
  (f) => `How many ${f.n}s are there in ${f.c}?`,
  (f) => `How much does ${article(f.n)} cost?`,
  (f) => `How much is ${article(f.n)}?`,
  (f) => `How long does ${article(f.n)} live?`,
  (f) => `How big is ${article(f.n)}?`,
  (f) => `Can ${article(f.n)} swim?`,
  (f) => `Can you fix my ${f.n}?`,
  (f) => `Tell me about ${f.m}.`,
  (f) => `Tell me about ${f.c}.`,
  (f) => `Tell me a joke about ${article(f.n)}.`,
  () => `Tell me the news.`,
  (f) => `What is the news from ${f.c}?`,
  () => `What is the meaning of life?`,
  (f) => `What is the square root of ${f.year}?`,
  (f) => `What is ${f.year} divided by ${f.k}?`,
  (f) => `Solve x + ${f.k} = ${f.year}.`,
  (f) => `Prove that ${f.m} is true.`,
  (f) => `Is it true that ${f.n}s are ${f.a}?`,
  (f) => `Will it rain in ${f.c} tomorrow?`,
  (f) => `What is the price of ${article(f.n)} in ${f.c}?`,
  (f) => `What is the url of ${f.c}?`,
  (f) => `Where do I find ${article(f.n)}?`,
  (f) => `Where can I buy ${f.m} in ${f.c}?`,
  (f) => `How do I get to ${f.c}?`,
  (f) => `How do I reset my ${f.n}?`,
  (f) => `What is a good name for my ${f.n}?`,
  (f) => `Which is faster, ${article(f.n)} or a horse?`,
  (f) => `What colour is ${article(f.n)}?`,
  (f) => `Recommend a book about ${f.m}.`,
  (f) => `Plan a trip to ${f.c}.`,
  (f) => `I feel ${f.a} today. What should I do?`,
  (f) => `My ${f.n} is broken. What now?`,
  (f) => `I need advice about ${f.m}.`,
  (f) => `Who are the ${f.n}s of ${f.c}?`,
  (f) => `What were the causes of the war in ${f.c}?`,
  (f) => `Describe ${f.m} in detail.`,
  (f) => `Let us talk about ${f.m}.`,
  (f) => `${f.m}`,
  (f) => `${f.p} ${f.p2}`,
  (f) => `What is the population of ${f.c}?`,
  (f) => `Explain the theory of ${f.m}.`,
  (f) => `Why do people like ${f.m}?`,
  (f) => `What will happen to ${f.m} in ${f.year}?`,
  (f) => `Is there ${f.m} in ${f.c}?`,
  (f) => `How many letters has the word ${f.n}?`,
  (f) => `How do you spell ${f.n}?`,
  (f) => `Count the letter a in ${f.n}.`,
  (f) => `Which country has the most ${f.n}s?`,
  (f) => `Find a mistake in my ${f.n}.`,
]

/** Common words in no order: what is understood as little must be answered the same way. */
function babble(random: Random, split: Split): string {
  const word = (): string =>
    random.chance(0.85) ? random.pick(COMMON_WORDS) : random.pick([noun, name, matter, city])(random, split)
  return Array.from({ length: random.integer(1, 14) }, word).join(' ') + random.pick(['?', '?', '.', '', '!'])
}

export function unknown(random: Random, split: Split): Exchange {
  const ask = random.chance(0.25) ? babble(random, split) : open(random, split)
  const cased = random.chance(0.85) ? ask.slice(0, 1).toUpperCase() + ask.slice(1) : ask.toLowerCase()
  const led = random.chance(0.1) ? random.pick(LEADS)(cased) : cased
  return exchange(led, 'This is not among the things I know.', DO_NOT_KNOW)
}

const LEADS = [
  (q: string) => `Please tell me: ${q}`,
  (q: string) => `Hello, ${q}`,
  (q: string) => `Hi! ${q}`,
  (q: string) => `I have a question: ${q}`,
  (q: string) => `Can you help me? ${q}`,
  (q: string) => `So, ${q}`,
]

function open(random: Random, split: Split): string {
  const form = drawn(
    split,
    () => random.integer(0, OPEN.length - 1),
    (index) => `open ${index}`,
  )
  const fill: Fill = {
    m: matter(random, split),
    m2: matter(random, split),
    n: noun(random, split),
    a: adjective(random),
    c: city(random, split),
    p: name(random, split),
    p2: name(random, split),
    year: random.integer(1000, 2030),
    k: random.integer(2, 12),
  }
  const text = OPEN[form]?.(fill) ?? ''
  return random.chance(0.1) ? text.replace(/[?.]$/, '') : text
}
