/** The command line of `npm run eval`, checked before any request is sent. */
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { Rates } from '../../../backends/model/money.ts'
import { type Effort, efforts } from './case.ts'
import { type Scoring, scorings } from './sets/long.ts'
import { taskNames } from './tasks/tasks.ts'

export const usage = `npm run eval -- [options]: measures accuracy and output tokens by effort, for any model behind an OpenAI-style API

  --url U           base URL, ending in /v1 (default: the product that npm start runs)
  --key K           API key (or TRAMONTANE_EVAL_KEY in the environment)
  --model M         model id
  --task a,b        ${taskNames.join(', ')};
                    "tools" selects all tasks that start with it; "none" selects no task
                    (default: all, or none if a file is given)
  --effort a,b      ${efforts.join(', ')}; "default" sends no effort (default: none,high)
  --count N         cases per task and effort (default: 50); of a file, its first N (default: all)
  --seed S          selects the cases (default: 1)
  --concurrency C   concurrent requests (default: 4)
  --temperature T   sampling temperature (default: 0)
  --max-tokens N    output tokens per answer (default: the server's limit)
  --aime FILE       JSONL with problem or question, and an integer answer
  --livecode FILE   JSONL with question_content, starter_code, public_test_cases, private_test_cases, metadata;
                    the programs that the model writes are RUN on this machine, in a child process with limits
  --long FILE       JSONL with context, question or input, and answers
  --long-score S    ${scorings.join(', ')} (default: the field "scoring" of each line, otherwise contains)
  --malformed M     stop or skip: what to do with an unreadable line (default: stop)
  --price I,C,O     dollars per million input, cached and output tokens, to compute the cost
  --out FOLDER      folder for journal, table and plot (default: eval/ in the state folder)
  --fresh           discard the journal instead of continuing it`

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

/** Throws an error of one sentence that names the option. */
export function optionsOf(args: readonly string[]): EvalOptions {
  const text = { type: 'string' } as const
  const flags = { fresh: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const
  const names = Object.keys(Options.shape).filter((name) => !(name in flags))
  const options = { ...Object.fromEntries(names.map((name) => [name, text])), ...flags }
  const checked = Options.safeParse(parseArgs({ args: [...args], options }).values)
  if (!checked.success) {
    const issue = checked.error.issues[0]
    throw new Error(`--${String(issue?.path[0] ?? '')}: ${issue?.message ?? 'invalid value'}`)
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
  if (found.length === 0) throw new Error(`--task: there is no ${name}. Use one of ${taskNames.join(', ')}`)
  return found
}

/** One dollar per million tokens is a thousand nano-dollars per token. */
function ratesOf(price: readonly string[]): Rates {
  const [inputNano, cachedNano, outputNano] = price.map((dollars) => Math.round(Number(dollars) * 1_000))
  const checked = Rates.safeParse({ inputNano, cachedNano, outputNano })
  if (!checked.success)
    throw new Error('--price: must be three amounts in dollars per million tokens: input,cached,output')
  return checked.data
}
