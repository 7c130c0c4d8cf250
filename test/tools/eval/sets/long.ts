/** Questions about long texts: a context, a question, and the accepted answers. */
import { z } from 'zod'
import { type Answer, type Case, caseOf, type Verdict, verdict } from '../case.ts'
import { words } from '../extract.ts'
import { f1 } from '../statistics.ts'
import { type Reading, readLines } from './jsonl.ts'

/** contains: one of the answers is in the text. all: every answer is. f1: word overlap with the nearest answer. */
export const scorings = ['contains', 'all', 'f1'] as const
export type Scoring = (typeof scorings)[number]

/** An overlap from here on counts as right; the table also shows the mean overlap. */
const f1Right = 0.5

const Answers = z.union([
  z.string(),
  z.number().transform(String),
  z.array(z.union([z.string(), z.number().transform(String)])),
])

const Row = z
  .object({
    context: z.string().optional(),
    question: z.string().optional(),
    input: z.string().optional(),
    answers: Answers.optional(),
    answer: Answers.optional(),
    outputs: Answers.optional(),
    scoring: z.enum(scorings).optional(),
  })
  .transform((row) => ({
    text: [row.context, row.question ?? row.input].filter((part) => part).join('\n\n'),
    answers: [row.answers ?? row.answer ?? row.outputs ?? []].flat().filter((answer) => words(answer).length > 0),
    // Sets that call their answers `outputs` require all of them.
    scoring: row.scoring ?? (row.outputs === undefined ? undefined : ('all' as const)),
  }))

export function long(text: string, chosen?: Scoring): Reading<Case> {
  return readLines(text, Row, (row) => {
    if (!row.text) throw new Error('there is no context, question or input')
    if (row.answers.length === 0) throw new Error('there are no answers')
    const scoring = chosen ?? row.scoring ?? 'contains'
    return caseOf('long', [{ role: 'user', content: row.text }], (answer) => score(answer, row.answers, scoring))
  })
}

export function score({ content }: Answer, answers: readonly string[], scoring: Scoring): Verdict {
  const said = words(content)
  const has = (answer: string) => ` ${said.join(' ')} `.includes(` ${words(answer).join(' ')} `)
  switch (scoring) {
    case 'contains':
      return verdict(answers.some(has))
    case 'all': {
      const share = answers.filter(has).length / answers.length
      return { right: share === 1, score: share }
    }
    case 'f1': {
      const best = Math.max(...answers.map((answer) => f1(said, words(answer))))
      return { right: best >= f1Right, score: best }
    }
  }
}
