/** Evaluates the model: `node evaluate.ts [tiny.gguf] [QUESTIONS] [--show]` prints a Markdown table, and failures. */
import { fileURLToPath } from 'node:url'
import { greedy } from './greedy.ts'
import { type Question, questions } from './questions.ts'

type Row = { what: string; effort: string; right: number; asked: number; tokens: number }

const [path = fileURLToPath(new URL('../../../gpu-worker/model/tiny.gguf', import.meta.url)), count = '50', show] =
  process.argv.slice(2)
const rows = new Map<string, Row>()
const model = await greedy(path)
for (const question of questions(Number(count))) {
  const { ids, text } = await model.answer(question.prompt)
  const said = visible(text)
  const right = said !== undefined && question.right(said)
  add(question, right, ids.length)
  if (show && !right)
    console.error(`${question.what} (${question.effort}): ${question.prompt.slice(-160)}\n    ${text}\n`)
}
await model.dispose()
console.log('| what | effort | right | output tokens |\n|---|---|---|---|')
for (const { what, effort, right, asked, tokens } of rows.values()) {
  console.log(`| ${what} | ${effort} | ${right} / ${asked} | ${(tokens / asked).toFixed(1)} |`)
}

function add({ what, effort }: Question, right: boolean, tokens: number): void {
  const row = rows.get(what + effort) ?? { what, effort, right: 0, asked: 0, tokens: 0 }
  rows.set(what + effort, {
    ...row,
    right: row.right + Number(right),
    asked: row.asked + 1,
    tokens: row.tokens + tokens,
  })
}

/** The answer after the reasoning; undefined if the model did not finish. */
function visible(text: string): string | undefined {
  return text.endsWith('</s>')
    ? text.slice(text.lastIndexOf('[/THINK]') + 1 ? text.lastIndexOf('[/THINK]') + 8 : 0, -4)
    : undefined
}
