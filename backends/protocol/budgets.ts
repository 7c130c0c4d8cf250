/**
 * The budget of everything that a client sends and that costs more than linear work. One table: the code that enforces
 * a budget reads it here, `/docs` and SECURITY.md print it, and a test compares them. A value above its budget is
 * refused by the field's path, or ends that request alone.
 */
export interface Budget {
  readonly value: number
  readonly unit: 'bytes' | 'characters' | 'milliseconds' | 'count' | 'percent' | 'megabytes'
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
    bounds: 'all JSON schemas of one request (response format and tools together)',
    reason:
      'the 5,000 properties and 120,000 characters of names and values that OpenAI documents come to 400 kB; tools above it get looser rules',
  },
  toolBytes: {
    value: 4 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'all tool schemas of one request, which become part of its prompt',
    reason: 'four times the text of the longest context of 262,144 tokens; more than that cannot fit',
  },
  argumentCharacters: {
    value: 1024 * 1024,
    unit: 'characters',
    bounds: 'arguments of earlier tool calls of one request that are spelt as the model writes them',
    reason: 'the text of the longest context of 262,144 tokens; longer ones are sent to the model as they are',
  },
  jsonDepth: {
    value: 256,
    unit: 'count',
    bounds: 'levels of nesting in a JSON schema',
    reason: 'code that reads JSON uses stack for each level: 5,000 levels overflowed it',
  },
  schemaVisits: {
    value: 40_000,
    unit: 'count',
    bounds: 'parts visited while the schemas of one request are compiled, references followed each time',
    reason: '5,000 properties take 5,000 visits and 50 ms; 40,000 visits of short parts take 12 ms',
  },
  schemaCompared: {
    value: 400_000,
    unit: 'count',
    bounds: 'comparisons while branches of the schemas of one request are merged and told apart',
    reason: 'merging 100 branches of 200 properties takes 40,000',
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
    reason: 'the library copies an item once per repetition: 5,000 copies take 2.3 ms, twice per run',
  },
  grammarBytes: {
    value: 512 * 1024,
    unit: 'bytes',
    bounds: 'grammar made from the schemas of one request',
    reason: '5,000 properties come to 190 to 285 kB; the library reads 512 kB in 14 ms, twice per run',
  },
  grammarStacks: {
    value: 256,
    unit: 'count',
    bounds: 'ways of reading an answer under its grammar that are open at once',
    reason: 'each open way is one pass over the vocabulary per token, 2 ms for 131,072 words: 256 of them take 0.5 s',
  },
  grammarSharedStacks: {
    value: 32,
    unit: 'count',
    bounds: 'open ways of a grammar whose run is sampled next to others; runs with more take turns, one per step',
    reason: '32 passes over 131,072 words take 60 ms; 30 such runs on four threads take 0.5 s of one step',
  },
  grammarMs: {
    value: 2_000,
    unit: 'milliseconds',
    bounds: 'compiling the schemas of one request and reading their grammar, in a process of its own',
    reason: 'the largest schemas within the other budgets take 0.06 s alone and 0.3 s on a busy machine',
  },
  grammarReadMs: {
    value: 50,
    unit: 'milliseconds',
    bounds: 'processor time to read one grammar, measured before a request runs',
    reason: 'the engine process reads it again while a batch is computed; neighbours notice a pause above 50 ms',
  },
  grammarTokenMs: {
    value: 500,
    unit: 'milliseconds',
    bounds: 'processor time to choose one token under a grammar',
    reason: 'all streams of a worker wait for it; the run ends after one such token',
  },
  grammarMeanTokenMs: {
    value: 250,
    unit: 'milliseconds',
    bounds: 'processor time to choose a token under a grammar, as the mean of eight tokens',
    reason: 'a schema with 50 optional properties takes 60 ms with 131,072 words on a busy core; the run ends above it',
  },
  grammarSharedTokenMs: {
    value: 50,
    unit: 'milliseconds',
    bounds:
      'processor time to choose a token of a run that is sampled next to others; slower runs take turns, one per step',
    reason: 'a plain schema takes 15 to 25 ms with 131,072 words',
  },
  grammarSharePercent: {
    value: 25,
    unit: 'percent',
    bounds: 'time that all runs with slow grammars get while other requests compute',
    reason: 'the other streams of the worker keep three quarters of their speed',
  },
  grammarMemoryMegabytes: {
    value: 512,
    unit: 'megabytes',
    bounds: 'memory of the process that compiles schemas',
    reason: 'it uses 90 MB at rest and 190 MB after the largest schemas',
  },
  grammarQueue: {
    value: 1_024,
    unit: 'count',
    bounds: 'requests that wait for their schemas to be compiled',
    reason: 'the most slots that a worker can have',
  },
  prepareMs: {
    value: 30_000,
    unit: 'milliseconds',
    bounds: 'preparation of one request by the engine: rendering, compiling, counting',
    reason: 'one million tokens of text take 5 s on two cores; a busy machine takes several times that',
  },
  tokeniseCharacters: {
    value: 256 * 1024,
    unit: 'characters',
    bounds: 'text of one request that the engine process holds for tokenising at a time',
    reason: 'longer prompts go in parts: with parts four times as long, 32 MB of text grew the process by 200 MB',
  },
  countedContexts: {
    value: 4,
    unit: 'count',
    bounds: 'context lengths up to which a prompt that does not fit is counted',
    reason: 'counting 32 MB of text takes 20 to 29 s on two cores, and a refused request is not charged',
  },
  engineBeatMs: {
    value: 500,
    unit: 'milliseconds',
    bounds: 'time between two signs of life of an engine process',
    reason: 'twenty of them fit into the time after which silence counts',
  },
  engineSilentMs: {
    value: 10_000,
    unit: 'milliseconds',
    bounds: 'silence of an engine process before it is ended',
    reason: 'its event loop has no work longer than 0.1 s, and its signs of life come twice a second',
  },
  engineLoadSilentMs: {
    value: 120_000,
    unit: 'milliseconds',
    bounds: 'silence of an engine process while it loads the model',
    reason: 'GPU libraries may block the event loop while they start; not measured',
  },
  engineStuckMs: {
    value: 60_000,
    unit: 'milliseconds',
    bounds: 'time that requests run in an engine process without one finished step',
    reason: 'a step is one batch of at most a few hundred tokens; not measured with the full model on a CPU',
  },
  engineLogLines: {
    value: 100,
    unit: 'count',
    bounds: 'lines per second of an engine that are passed on to the log',
    reason: 'an engine prints tens of lines at once when it starts or fails; a client can make it print megabytes',
  },
} as const satisfies Record<string, Budget>

export type BudgetName = keyof typeof budgets
