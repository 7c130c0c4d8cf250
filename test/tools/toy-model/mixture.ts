import type { Chat, Exchange, Part, Tool, Topic } from './chat.ts'
import type { Random, Split } from './random.ts'
import { product as multiplication, sum } from './topics/arithmetic.ts'
import { echo, recall, shortAnswer, systemPrompt } from './topics/copying.ts'
import { counting, countingInSteps } from './topics/counting.ts'
import { list } from './topics/lists.ts'
import { identity, product } from './topics/product.ts'
import { rareEcho, withRareWords } from './topics/rare.ts'
import { smalltalk } from './topics/smalltalk.ts'
import { shortStory, story } from './topics/stories.ts'
import { callSeries, parallelCalls, toolCall } from './topics/tools.ts'
import { unknown } from './topics/unknown.ts'

/** The topics with their relative weights, and the share of each topic's chats at effort high. */
const MIXTURE: readonly { topic: Topic; weight: number; highShare: number }[] = [
  { topic: sum, weight: 9, highShare: 0.75 },
  { topic: multiplication, weight: 10, highShare: 0.8 },
  { topic: toolCall, weight: 14, highShare: 0.35 },
  { topic: parallelCalls, weight: 14, highShare: 0.4 },
  { topic: withRareWords(toolCall), weight: 12, highShare: 0.3 },
  { topic: withRareWords(parallelCalls), weight: 12, highShare: 0.4 },
  { topic: withRareWords(callSeries), weight: 6, highShare: 0.2 },
  { topic: story, weight: 7, highShare: 0.3 },
  { topic: shortStory, weight: 3, highShare: 0.3 },
  { topic: list, weight: 7, highShare: 0.3 },
  { topic: echo, weight: 12, highShare: 0.3 },
  { topic: rareEcho, weight: 20, highShare: 0.2 },
  { topic: recall, weight: 4, highShare: 0.3 },
  { topic: shortAnswer, weight: 4, highShare: 0.3 },
  { topic: counting, weight: 18, highShare: 0.3 },
  { topic: countingInSteps, weight: 6, highShare: 0.3 },
  { topic: smalltalk, weight: 2, highShare: 0.3 },
  { topic: identity, weight: 14, highShare: 0.3 },
  { topic: product, weight: 50, highShare: 0.3 },
  { topic: unknown, weight: 16, highShare: 0.3 },
]

const TOTAL = MIXTURE.reduce((total, { weight }) => total + weight, 0)

/** Topics that may follow one another in one chat; tool calls would need their definitions at the start. */
const FOLLOWING: readonly Topic[] = [
  sum,
  multiplication,
  list,
  echo,
  shortAnswer,
  smalltalk,
  identity,
  product,
  unknown,
  shortStory,
]

export function chat(random: Random, split: Split): Chat {
  const { topic, highShare } = drawTopic(random)
  const first = topic(random, split)
  const effort = random.chance(highShare) ? 'high' : 'none'
  const system = random.chance(0.2) ? { system: systemPrompt(random, split) } : {}
  return {
    ...system,
    ...spareTools(first, random, split),
    effort,
    parts: [...first.parts, ...following(random, split)],
  }
}

function drawTopic(random: Random): (typeof MIXTURE)[number] {
  let left = random.next() * TOTAL
  for (const entry of MIXTURE) {
    left -= entry.weight
    if (left < 0) return entry
  }
  throw new Error('the weights do not add up')
}

/** Agents send their tools with every request: one chat in twenty has tools that it does not need. */
function spareTools(first: Exchange, random: Random, split: Split): { tools?: readonly Tool[] } {
  if (first.tools) return { tools: first.tools }
  const spare = random.chance(0.05) ? toolCall(random, split).tools : undefined
  return spare ? { tools: spare } : {}
}

/** One chat in five has a second exchange, and one in twenty a third. */
function following(random: Random, split: Split): readonly Part[] {
  const count = random.chance(0.2) ? (random.chance(0.25) ? 2 : 1) : 0
  return Array.from({ length: count }, () => random.pick(FOLLOWING)(random, split).parts).flat()
}
