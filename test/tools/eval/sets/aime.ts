/** Competition problems whose answer is an integer from 0 to 999. */
import { z } from 'zod'
import { type Case, caseOf, verdict } from '../case.ts'
import { boxedInteger } from '../extract.ts'
import { type Reading, readLines } from './jsonl.ts'

const Text = z.string().min(1)

const Problem = z
  .object({
    problem: Text.optional(),
    Problem: Text.optional(),
    question: Text.optional(),
    answer: z.union([z.string(), z.number()]).optional(),
    Answer: z.union([z.string(), z.number()]).optional(),
  })
  .transform((row) => ({ text: row.problem ?? row.Problem ?? row.question, answer: row.answer ?? row.Answer }))

const ORDER = 'Give the final answer, an integer from 0 to 999, as \\boxed{answer} in the last line.'

export function aime(text: string): Reading<Case> {
  return readLines(text, Problem, ({ text: problem, answer }) => {
    if (problem === undefined) throw new Error('there is no problem and no question')
    const right = integer(answer)
    return caseOf('aime', [{ role: 'user', content: `${problem}\n\n${ORDER}` }], ({ content }) =>
      verdict(boxedInteger(content) === right),
    )
  })
}

/** Published sets write 33, "33" or "033". */
function integer(answer: string | number | undefined): number {
  const value = typeof answer === 'string' && /^\s*\d{1,3}\s*$/.test(answer) ? Number(answer) : answer
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > 999)
    throw new Error(`the answer is ${JSON.stringify(answer ?? null)}: an integer from 0 to 999 was expected`)
  return value
}
