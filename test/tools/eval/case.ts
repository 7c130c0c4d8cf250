/** One question of an evaluation and the check of its answer. Cases describe; `run.ts` and the sandbox perform. */

export const efforts = ['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max'] as const
export type Effort = (typeof efforts)[number]

export interface Tool {
  name: string
  description: string
  parameters: Record<string, unknown>
}

export interface Call {
  name: string
  /** JSON text, as sent over HTTP. */
  arguments: string
}

export type Message =
  | { role: 'system' | 'user'; content: string }
  | { role: 'assistant'; content: string | null; tool_calls?: WireCall[] }
  | { role: 'tool'; tool_call_id: string; content: string }

interface WireCall {
  id: string
  type: 'function'
  function: Call
}

export interface Answer {
  content: string
  reasoning: string
  calls: Call[]
  /** Null when the stream ended without one. */
  finish: string | null
}

/** `score` is 0 to 1; `right` is the yes or no that accuracy counts. */
export interface Verdict {
  right: boolean
  score: number
}

/** A program that must run before the answer can be judged. */
export interface Program {
  language: 'python' | 'javascript'
  code: string
  /** Null when the program reads stdin and writes stdout. */
  functionName: string | null
  tests: { input: string; output: string }[]
}

export type Judgement = Verdict | { program: Program }

export interface Case {
  task: string
  /** Identifies the question by its text: another text under the same number is another case. */
  id: string
  messages: Message[]
  tools?: Tool[]
  judge: (answer: Answer) => Judgement
}

export function asked(task: string, content: string, right: (answer: Answer) => boolean): Case {
  return caseOf(task, [{ role: 'user', content }], (answer) => verdict(right(answer)))
}

export function caseOf(task: string, messages: Message[], judge: Case['judge'], tools?: Tool[]): Case {
  const id = fingerprint(JSON.stringify([messages, tools ?? null]))
  return { task, id, messages, judge, ...(tools && { tools }) }
}

export function verdict(right: boolean): Verdict {
  return { right, score: right ? 1 : 0 }
}

/** FNV-1a over code points from two start values: 64 bits distinguish a few thousand questions. */
function fingerprint(text: string): string {
  return [0x811c9dc5, 0x01234567].map((seed) => half(text, seed)).join('')
}

function half(text: string, seed: number): string {
  let hash = seed
  for (const character of text) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193)
  return (hash >>> 0).toString(16).padStart(8, '0')
}
