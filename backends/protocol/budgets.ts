/**
 * The budget of everything that a client sends and that costs more than linear work. One table: the code that enforces
 * a budget reads it here, `/docs` and SECURITY.md print it, and a test compares them. A value above its budget is
 * refused by the field's path, or ends that request alone.
 */
export interface Budget {
  readonly value: number
  readonly unit: 'bytes' | 'characters' | 'milliseconds' | 'count' | 'percent'
  /** What the budget bounds, as a noun phrase for the published table. */
  readonly bounds: string
  /** Why it has this value: a measurement, or the limit of another system. */
  readonly reason: string
}

export const budgets = {
  bodyBytes: {
    value: 32 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'request body',
    reason: 'a long conversation with images; one isolate has 128 MiB for the body and all that is made of it',
  },
  schemaBytes: {
    value: 512 * 1024,
    unit: 'bytes',
    bounds: 'JSON schemas of one request (response format and tools together)',
    reason:
      'the 5,000 properties and 120,000 characters of names and values that OpenAI documents come to 400 kB; tools above it get looser rules',
  },
  jsonDepth: {
    value: 256,
    unit: 'count',
    bounds: 'levels of nesting in a JSON schema',
    reason: 'code that reads JSON uses one stack frame per level; about 7,000 levels overflow the stack',
  },
  schemaVisits: {
    value: 40_000,
    unit: 'count',
    bounds: 'parts visited while the schemas of one request are compiled, references followed each time',
    reason: '5,000 properties with all that is around them take 15,000 visits; 40,000 take 60 ms',
  },
  schemaCompared: {
    value: 400_000,
    unit: 'count',
    bounds: 'comparisons while branches of the schemas of one request are merged and told apart',
    reason: '400,000 comparisons take 40 ms',
  },
  schemaAlternatives: {
    value: 10_000,
    unit: 'count',
    bounds: 'enum values and branches of the schemas of one request',
    reason: 'ten times the 1,000 enum values that OpenAI documents; values with a common beginning share one rule',
  },
  grammarRepeats: {
    value: 5_000,
    unit: 'count',
    bounds: 'repetitions in the grammar of one request, after large bounds were split into blocks',
    reason: 'the library copies an item once per repetition: 5,000 copies take 5 ms in the engine process',
  },
  grammarBytes: {
    value: 512 * 1024,
    unit: 'bytes',
    bounds: 'grammar made from the schemas of one request',
    reason: '5,000 properties come to 190 kB; the library reads 512 kB in 13 ms, twice per run',
  },
  grammarStacks: {
    value: 512,
    unit: 'count',
    bounds: 'ways of reading an answer under its grammar that are open at once',
    reason: 'each open way is one pass over the vocabulary per token: 512 passes over 131,072 words take 0.7 s',
  },
} as const satisfies Record<string, Budget>

export type BudgetName = keyof typeof budgets
