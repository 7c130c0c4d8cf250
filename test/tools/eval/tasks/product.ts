/** Facts that the product's own model should know: what it is, and how to use the product. */
import type { Random } from '../../toy-model/random.ts'
import { type Answer, asked, type Case } from '../case.ts'

/** A question, and words that the question lacks; the answer must contain at least one. */
const QUESTIONS: readonly (readonly [question: string, ...words: string[]])[] = [
  ['Who am I chatting with?', 'toy', 'Tramontane'],
  ['Hello! Please introduce yourself.', 'toy', 'Tramontane'],
  ['What is your name?', 'Tramontane'],
  ['Are you a big model?', 'toy', 'tiny', 'small'],
  ['Are you the real Mistral Small 4?', 'No'],
  ['Are you a human being?', 'No', 'not a human'],
  ['How many experts do you have?', '128'],
  ['What are you good at?', 'add', 'call tools', 'stories'],
  ['What can you not do?', 'cannot', 'can not', "can't"],
  ['Who trained you?', 'templates', 'our own'],
  ['How do I use a real model?', 'TRAMONTANE_MODEL'],
  ['How do I load my own GGUF file?', 'TRAMONTANE_MODEL'],
  ['I want to run Mistral Small 4. How?', 'TRAMONTANE_MODEL'],
  ['What is Tramontane?', 'API', 'gateway'],
  ['How do I start Tramontane?', 'npm start'],
  ['How do I run the tests?', 'npm test'],
  ['What is the base URL?', 'v1', 'prints'],
  ['How do I get an API key?', 'demo key', 'console', 'admin'],
  ['What does reasoning_effort do?', 'step', 'think'],
  ['Which values of reasoning_effort are there?', 'none and high', 'none, high', 'none'],
  ['Where do I find the thinking in an answer?', 'reasoning_content'],
  ['What is the throughput pool for?', 'batches', 'batch', 'high'],
  ['How do I stream an answer?', 'true', 'server-sent events'],
  ['How do I use tools?', 'tool_calls', 'functions', 'function'],
  ['What happens when my budget is used up?', 'insufficient_quota', '402', '429'],
  ['Why do I get a 429?', 'retry-after', 'limit', 'limits', 'quota', 'insufficient_quota'],
  ['What does a 503 mean?', 'full', 'busy', 'overload', 'overloaded', 'retry-after'],
  ['Where is the state kept?', '.tramontane'],
  ['Do I need a GPU?', 'No', 'processor', 'CPU'],
  ['Can I use the OpenAI SDK?', 'Yes', 'OpenAI SDK'],
  ['How much does a token cost?', 'dollars', 'dollar', 'nano-dollars'],
  ['Am I billed when I disconnect?', 'until', 'generated', 'written'],
  ['Can I connect vLLM?', 'npm run worker', 'worker'],
  ['What is a receipt?', 'signed', 'signs', 'counts', 'counted'],
  ['Can you look at an image?', 'cannot', 'No'],
  ['Where can I see my usage?', 'console', 'admin'],
]

const WAYS = [(question: string) => question, (question: string) => `I have a question: ${question}`]

export function product(random: Random): Case {
  const [question, ...right] = random.pick(QUESTIONS)
  return asked('product', random.pick(WAYS)(question), (answer) => knows(right, answer))
}

/** Compares whole words: "know" is no "no". An answer that claims ignorance is wrong in any case. */
export function knows(right: readonly string[], { content, finish }: Answer): boolean {
  if (finish !== 'stop' || /\b(do not|don[’']t) know\b/i.test(content)) return false
  return right.some((word) => new RegExp(`(?<!\\w)${escaped(word)}(?!\\w)`, 'i').test(content))
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}
