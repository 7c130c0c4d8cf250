/** The command line of `npm run eval`, checked before anything is asked. */
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { Rates } from '../../../backends/model/money.ts'
import { type Effort, efforts } from './case.ts'
import { type Scoring, scorings } from './sets/long.ts'
import { taskNames } from './tasks/tasks.ts'

export const usage = `npm run eval -- [options]: effort × accuracy × output tokens of any model behind an OpenAI-style API

  --url U           base URL, ending in /v1; without it the product that npm start runs is asked
  --key K           API key (or TRAMONTANE_EVAL_KEY in the environment)
  --model M         model id
  --task a,b        ${taskNames.join(', ')};
                    "tools" is all that begin with it; all of them unless said or a file is given; "none" for files only
  --effort a,b      ${efforts.join(', ')}; none,high unless said. "default" sends no effort
  --count N         cases for each task and effort, 50 unless said; of a file, its first N (all unless said)
  --seed S          which cases, 1 unless said
  --concurrency C   requests at once, 4 unless said
  --temperature T   0 unless said
  --max-tokens N    output tokens for each answer; the server's own bound unless said
  --aime FILE       JSONL of problem or question, and an integer answer
  --livecode FILE   JSONL of question_content, starter_code, public_test_cases, private_test_cases, metadata;
                    the programs that the model writes are RUN here, in a child with limits
  --long FILE       JSONL of context, question or input, and answers; --long-score ${scorings.join('|')} (or a field: scoring)
  --malformed stop|skip   what to do about a line that cannot be read, stop unless said
  --price I,C,O     dollars per million input, cached and output tokens, for the cost
  --out FOLDER      journal, table and plot; eval/ in the state folder unless said
  --fresh           forget the journal instead of going on from it`

const words = ['default', ...efforts] as const

const Whole = (min: number, max: number) => z.coerce.number().int().min(min).max(max)
const List = z.string().transform((text) =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean),
)

const Options = z.object({
  url: z.url().optional(),
  key: z.string().optional(),
  model: z.string().optional(),
  task: List.optional(),
  effort: List.pipe(z.array(z.enum(words)).min(1)).default(['none', 'high']),
  count: Whole(1, 100_000).optional(),
  seed: Whole(0, 4_294_967_295).default(1),
  concurrency: Whole(1, 512).default(4),
  temperature: z.coerce.number().min(0).max(2).default(0),
  'max-tokens': Whole(1, 10_000_000).optional(),
  aime: z.string().optional(),
  livecode: z.string().optional(),
  long: z.string().optional(),
  'long-score': z.enum(scorings).optional(),
  malformed: z.enum(['stop', 'skip']).default('stop'),
  price: List.optional(),
  out: z.string().optional(),
  fresh: z.boolean().default(false),
  help: z.boolean().default(false),
})

export interface EvalOptions {
  url: string | undefined
  key: string | undefined
  model: string | undefined
  tasks: string[]
  efforts: (Effort | 'default')[]
  count: number | undefined
  seed: number
  concurrency: number
  temperature: number
  tokensMax: number | null
  files: { aime: string | undefined; livecode: string | undefined; long: string | undefined }
  longScore: Scoring | undefined
  malformed: 'stop' | 'skip'
  rates: Rates | null
  out: string | undefined
  fresh: boolean
  help: boolean
}

/** Throws one sentence that names the option. */
export function optionsOf(args: readonly string[]): EvalOptions {
  const text = { type: 'string' } as const
  const flags = { fresh: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const
  const names = Object.keys(Options.shape).filter((name) => !(name in flags))
  const options = { ...Object.fromEntries(names.map((name) => [name, text])), ...flags }
  const checked = Options.safeParse(parseArgs({ args: [...args], options }).values)
  if (!checked.success) {
    const issue = checked.error.issues[0]
    throw new Error(`--${String(issue?.path[0] ?? '')}: ${issue?.message ?? 'not as expected'}`)
  }
  const { task, effort, price, aime, livecode, long, out, ...rest } = checked.data
  const files = { aime, livecode, long }
  return {
    url: rest.url?.replace(/\/+$/, ''),
    key: rest.key,
    model: rest.model,
    tasks: task ? task.flatMap(tasksBy) : Object.values(files).some(Boolean) ? [] : [...taskNames],
    efforts: [...new Set(effort)].toSorted((a, b) => words.indexOf(a) - words.indexOf(b)),
    count: rest.count,
    seed: rest.seed,
    concurrency: rest.concurrency,
    temperature: rest.temperature,
    tokensMax: rest['max-tokens'] ?? null,
    files,
    longScore: rest['long-score'],
    malformed: rest.malformed,
    rates: price ? ratesOf(price) : null,
    out,
    fresh: rest.fresh,
    help: rest.help,
  }
}

function tasksBy(name: string): string[] {
  if (name === 'none') return []
  const found = taskNames.filter((task) => task === name || task.startsWith(`${name}-`))
  if (found.length === 0) throw new Error(`--task: there is no ${name}; there are ${taskNames.join(', ')}`)
  return found
}

/** A dollar per million tokens is a thousand nano-dollars a token. */
function ratesOf(price: readonly string[]): Rates {
  const [inputNano, cachedNano, outputNano] = price.map((dollars) => Math.round(Number(dollars) * 1_000))
  const checked = Rates.safeParse({ inputNano, cachedNano, outputNano })
  if (!checked.success) throw new Error('--price: three amounts of dollars per million tokens: input, cached, output')
  return checked.data
}
