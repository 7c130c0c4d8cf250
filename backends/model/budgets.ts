/**
 * Budgets for client input whose processing costs more than linear work. The enforcing code reads this table, `/docs`
 * and SECURITY.md print it, and a test compares them. A value above its budget is refused with its field path, or ends
 * only that request.
 */
export interface Budget {
  readonly value: number
  readonly unit: 'bytes' | 'characters' | 'milliseconds' | 'count' | 'percent' | 'nano-dollars' | 'megabytes' | 'times'
  /** What the budget bounds, as a noun phrase for the published table. */
  readonly bounds: string
  /** Why it has this value: a measurement, or the limit of another system. */
  readonly reason: string
}

export const budgets = {
  bodyBytes: {
    value: 20 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'request body',
    reason:
      'a long conversation with images; an isolate has 128 MiB, and one body of 24 MiB took up to 119 of them (`npm run attack:memory`)',
  },
  requestTokens: {
    value: 16_777_216,
    unit: 'count',
    bounds: 'tokens of one kind (prompt, cached, output, reasoning) in one receipt',
    reason: '64 times the context of Mistral Small 4; 500 million such requests still add up exactly (2^53)',
  },
  priceNano: {
    value: 1_000_000_000,
    unit: 'nano-dollars',
    bounds: 'price of one token',
    reason: 'one dollar a token; a million tokens at this price are still counted exactly (2^53)',
  },
  ratePerMinute: {
    value: 1_000_000_000,
    unit: 'count',
    bounds: 'requests or tokens a minute that a limit may allow',
    reason: 'a bucket counts units times 60,000; this limit and its debt stay below 2^53',
  },
  rateDebt: {
    value: 600_000,
    unit: 'milliseconds',
    bounds: 'time that a token rate needs to recover from tokens used beyond it',
    reason: 'a prompt may be longer than its estimate; no receipt may shut a tenant out for longer than ten minutes',
  },
  dispatchesPerRequest: {
    value: 32,
    unit: 'count',
    bounds: 'dispatches of one request, and so its entries in the ledger',
    reason: '2 attempts, 16 workers without vision, 1 raise and 1 hosted answer are 20',
  },
  alerts: {
    value: 1_000,
    unit: 'count',
    bounds: 'alerts that a tenant or the operators can list; the oldest are dropped',
    reason: 'a month of ten budgets with three shares each; one alert takes about 400 bytes',
  },
  alertEndpoints: {
    value: 5,
    unit: 'count',
    bounds: 'endpoints for alerts of a tenant or of the operators',
    reason: 'each alert is sent to every endpoint, and each endpoint may take 10 seconds to answer',
  },
  earlyVoids: {
    value: 1_000,
    unit: 'count',
    bounds: 'requests of a tenant that were voided before their admission arrived and are remembered',
    reason: 'only lost calls between the edge and a tenant object leave one; each row takes about 60 bytes',
  },
  usageLabelCharacters: {
    value: 256,
    unit: 'characters',
    bounds: 'name of an end user, or one tag with its name',
    reason: 'the `user_id` of Anthropic’s API may have 256; coding agents send about 160',
  },
  tagsPerRequest: {
    value: 16,
    unit: 'count',
    bounds: 'tags of one request',
    reason: 'the pairs of `metadata` that OpenAI’s API accepts',
  },
  usageLabelsPerDay: {
    value: 1_000,
    unit: 'count',
    bounds:
      'end users of a tenant that usage reports count one by one in one day, and likewise tags; the rest count as `other`',
    reason: 'a day takes under 1 MB in the tenant object; the list of requests has every name',
  },
  refusedReceiptsPerWorker: {
    value: 1_000,
    unit: 'count',
    bounds: 'refused receipts of one worker that the edge keeps for the operator',
    reason: 'each is at most 6 kB; the oldest are dropped first, and other workers lose none',
  },
  refusedReceipts: {
    value: 20_000,
    unit: 'count',
    bounds: 'refused receipts of all workers that the edge keeps for the operator',
    reason: 'at most 120 MB of a D1 database of 10 GB',
  },
  outboxRefused: {
    value: 10_000,
    unit: 'count',
    bounds: 'refused receipts that a worker keeps in its outbox',
    reason: 'about 10 MB on disk; a worker whose key was revoked would fill the disk otherwise',
  },
  heartbeatClockMs: {
    value: 60_000,
    unit: 'milliseconds',
    bounds: "difference between a heartbeat's time and the edge's clock",
    reason: 'a replayed heartbeat is worthless after a minute; hosts with NTP differ by less than one second',
  },
  workerSilentMs: {
    value: 15_000,
    unit: 'milliseconds',
    bounds: "silence of a worker's event loop before its watchdog ends the process",
    reason: 'four times the silence after which the fleet drops the worker; no work on the loop takes a second',
  },
  workerProbeMs: {
    value: 3_000,
    unit: 'milliseconds',
    bounds: "the edge's wait for a worker that it probes, and the pause between two probes of one worker",
    reason: 'a reachable worker answers in under 50 ms; a network that drops packets never answers',
  },
  heartbeatRetryMs: {
    value: 5_000,
    unit: 'milliseconds',
    bounds: 'pause between two heartbeats of a worker that the edge refuses',
    reason:
      'an operator needs minutes to correct an enrolment; without the pause a refused worker called ten times a second',
  },
  heartbeatsPerSecond: {
    value: 20,
    unit: 'count',
    bounds: 'heartbeats of one worker in one second, in each isolate of the edge',
    reason: 'a worker sends one a second, and one more when it drains; one object takes about 1,000 calls a second',
  },
  tokensPerSecond: {
    value: 2_000,
    unit: 'count',
    bounds: 'tokens a second of one answer that the fleet accepts from a worker',
    reason: 'the model is published with 159 tokens a second; special hardware reaches 2,000 with models of its size',
  },
  duplicateShownMs: {
    value: 15_000,
    unit: 'milliseconds',
    bounds: 'time for which a second process with one worker id is reported after its last heartbeat',
    reason: 'three times the longest pause between the heartbeats of a refused process',
  },
  workersEnrolled: {
    value: 4_000,
    unit: 'count',
    bounds: 'workers with an enrolment, revoked ones included',
    reason: 'four times the 1,000 workers of one fleet; one row has about 1 kB in the memory of the fleet object',
  },
  workerModels: {
    value: 16,
    unit: 'count',
    bounds: 'models of one enrolment',
    reason: 'the catalogue has 2 models; an engine serves one',
  },
  workerSlots: {
    value: 1_024,
    unit: 'count',
    bounds: 'slots of one worker',
    reason: 'four times the largest profile (256); a heartbeat lists one request id for each slot, 64 kB in all',
  },
  workerSlotsDefault: {
    value: 256,
    unit: 'count',
    bounds: 'slots of a worker whose enrolment sets no number',
    reason: 'the largest profile in gpu-worker/profile.ts',
  },
  workerReasonCharacters: {
    value: 600,
    unit: 'characters',
    bounds: 'a reason that a worker or the edge gives in a heartbeat or its answer',
    reason: 'one sentence with two addresses fits; heartbeats come once a second from each worker',
  },
  bodyValues: {
    value: 65_536,
    unit: 'count',
    bounds: 'values in one JSON body (opening brackets and commas outside of strings)',
    reason:
      'a session of 2,000 messages and 128 tools has about 30,000; the worst value costs 0.9 kB and 6 us to refuse',
  },
  bodyDepth: {
    value: 128,
    unit: 'count',
    bounds: 'nesting depth of one JSON body',
    reason: 'schemas of real tools stay under 30; every reader here recurses once a level',
  },
  bodyExpandedBytes: {
    value: 4 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'compressed body after decompression',
    reason:
      'four times the text of the longest context, and images are compressed already; twenty bodies of 20 MiB, 600 kB sent each, delayed other requests by 2.6 s',
  },
  bodyExpansion: {
    value: 100,
    unit: 'times',
    bounds: 'length of a compressed body after decompression, in lengths of what was sent, above 64 KiB',
    reason: 'long histories of agents reach 30; gzip can reach 1,000, and then 200 kB sent cost as much as 200 MB',
  },
  bodyNameBytes: {
    value: 16 * 1024,
    unit: 'bytes',
    bounds: 'name of one field of a JSON body',
    reason: 'strings of this length or more are decoded separately, and only values can be',
  },
  bodyMemoryBytes: {
    value: 64 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'memory of all large bodies in one isolate, including the one being parsed',
    reason: 'an isolate has 128 MiB, of which the program takes about 20; with 72, four bodies at once took all of it',
  },
  bodyLargeBytes: {
    value: 256 * 1024,
    unit: 'bytes',
    bounds: 'request body that the edge reads before it checks whether the key is still valid',
    reason: 'a refused key costs one call to its tenant, and never more memory than this',
  },
  bodyStallMs: {
    value: 30_000,
    unit: 'milliseconds',
    bounds: 'wait for the next bytes of a request body',
    reason: 'a network that loses packets recovers within seconds',
  },
  bodyReadMs: {
    value: 300_000,
    unit: 'milliseconds',
    bounds: 'time to send a request body',
    reason: 'the largest body at 1 Mbit/s takes 270 s',
  },
  internalBodyBytes: {
    value: 1024 * 1024,
    unit: 'bytes',
    bounds: 'body of a call from a worker (heartbeat, receipts)',
    reason:
      'the signature is inside the body, so the edge reads this much from any caller; 64 receipts take about 60 kB',
  },
  paymentEventBytes: {
    value: 256 * 1024,
    unit: 'bytes',
    bounds: 'body of an event of the payment provider',
    reason: 'the signature covers the body, so the edge reads this much from any caller; a large event takes 30 kB',
  },
  adminBodyBytes: {
    value: 1024 * 1024,
    unit: 'bytes',
    bounds: "body of an operator's or a tenant's own administrative call",
    reason: 'the largest, a rate card, takes under 10 kB',
  },
  countBodyBytes: {
    value: 8 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'body of a request that counts tokens',
    reason: 'the longest context is about 1 MiB of text; the rest is for images, which are counted by their size',
  },
  countTextBytes: {
    value: 1024 * 1024,
    unit: 'bytes',
    bounds: 'prompt that a worker counts; a longer one is estimated',
    reason: 'an engine tokenises 0.39 MB in 1.3 s, between the steps of running answers',
  },
  countAnswerMs: {
    value: 5_000,
    unit: 'milliseconds',
    bounds: 'wait for one worker to count a prompt',
    reason: 'the longest prompt that is sent takes about 3.5 s on an idle engine',
  },
  keyKnownMs: {
    value: 60_000,
    unit: 'milliseconds',
    bounds: 'time that an isolate remembers a key as valid',
    reason: 'in this time the edge may parse a small body for a revoked key; every answer still needs its tenant',
  },
  keysKnown: {
    value: 10_000,
    unit: 'count',
    bounds: 'keys that one isolate remembers as valid',
    reason: 'about 2 MB; the oldest is dropped first',
  },
  workerKeysKnown: {
    value: 1_024,
    unit: 'count',
    bounds: "workers' derived keys that one isolate remembers",
    reason: 'deriving one costs about 0.1 ms; only keys that verified a signature are kept',
  },
  conversationCharacters: {
    value: 12_000_000,
    unit: 'characters',
    bounds: 'stored conversation that one request continues, and stored items that it refers to',
    reason: 'each character takes up to 6 bytes while it is loaded, and one isolate has 128 MiB',
  },
  recalledItems: {
    value: 1_024,
    unit: 'count',
    bounds: 'stored items that one request refers to by id',
    reason: 'each is one look-up in the database',
  },
  errorMessageCharacters: {
    value: 1_000,
    unit: 'characters',
    bounds: 'message of one error',
    reason: 'the longest message of this product has about 400',
  },
  errorParamCharacters: {
    value: 256,
    unit: 'characters',
    bounds: 'path of a field in one error',
    reason: 'a path of real field names has under 100',
  },
  logCharacters: {
    value: 2_000,
    unit: 'characters',
    bounds: 'one log line of the edge',
    reason: 'a stack trace of ten frames fits',
  },
  capabilitiesKnownMs: {
    value: 5_000,
    unit: 'milliseconds',
    bounds: 'time that an isolate remembers what the engines of a model support',
    reason: 'saves most requests a call; only a current answer refuses a request or changes its effort',
  },
  healthKnownMs: {
    value: 1_000,
    unit: 'milliseconds',
    bounds: 'time that one isolate answers /healthz from memory',
    reason: 'the route needs no key, and calls the one object that leases all slots',
  },
  referenceOrigins: {
    value: 8,
    unit: 'count',
    bounds: 'addresses for which one isolate keeps the reference pages',
    reason: 'about 300 kB each; a client chooses the address by its Host header',
  },
  workerHeadersMs: {
    value: 10_000,
    unit: 'milliseconds',
    bounds: "time to receive a request's headers at a worker's port",
    reason: 'a gateway sends its headers in one packet; a connection that sends none is closed',
  },
  workerRequestMs: {
    value: 60_000,
    unit: 'milliseconds',
    bounds: "time to receive a whole request at a worker's port",
    reason: '33 MiB take 28 s at 10 Mbit/s; generation is not part of it',
  },
  workerConnectionsExtra: {
    value: 256,
    unit: 'count',
    bounds: "connections to a worker's port that have shown a valid token, in addition to two for each slot",
    reason: 'each request that waits to have media read holds one, at most 128; idle connections stay open for 60 s',
  },
  workerUnprovenConnections: {
    value: 128,
    unit: 'count',
    bounds: "connections to a worker's port without a valid token yet, in addition to two for each slot",
    reason: 'the oldest is closed for the newest, so a flood cannot keep the gateway out',
  },
  dispatchBodyBytes: {
    value: 33 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'body of a signed request to a worker',
    reason: 'the largest request body, plus what converting it from another dialect adds',
  },
  preludeBytes: {
    value: 64 * 1024,
    unit: 'bytes',
    bounds: "first line of a worker's answer",
    reason: 'a refusal and its message take less than 5 kB, warnings less than 13 kB',
  },
  countsPerWorker: {
    value: 2,
    unit: 'count',
    bounds: 'prompts that one worker counts at a time',
    reason: 'counting shares the processor with generation',
  },
  countsPerTenant: {
    value: 1,
    unit: 'count',
    bounds: 'prompts of one tenant that one worker counts at a time',
    reason: 'half of all, so that one tenant cannot block another',
  },
  imagesPerRequest: {
    value: 64,
    unit: 'count',
    bounds: 'images of one request, including those in tool results',
    reason: 'a long conversation of an agent that takes screenshots; all of them share the bytes of one request',
  },
  documentsPerRequest: {
    value: 8,
    unit: 'count',
    bounds: 'documents of one request',
    reason: 'eight documents of 100 pages fill a context of 256K tokens',
  },
  imageBytes: {
    value: 20 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'one image, decoded',
    reason: 'the limit of OpenAI; checking one in a data URL blocks the main loop for 50 ms',
  },
  documentBytes: {
    value: 24 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'one document, decoded',
    reason: 'the largest that fits in a request body as base64',
  },
  imagePixels: {
    value: 64_000_000,
    unit: 'count',
    bounds: 'pixels of one image',
    reason: 'a decoder holds four bytes for each: 256 MB',
  },
  requestPixels: {
    value: 178_000_000,
    unit: 'count',
    bounds: 'pixels of all images and page pictures of one request',
    reason:
      'an engine decodes all of them before it reads one: llama-server takes 3.5 bytes for each, 620 MB, and 64 files of 8 KB took 14 GB without it; vLLM refuses more than 178,956,970',
  },
  pdfPages: {
    value: 100,
    unit: 'count',
    bounds: 'pages of one PDF',
    reason: 'about 70,000 tokens of text',
  },
  pdfPictures: {
    value: 20,
    unit: 'count',
    bounds: 'pages of one PDF whose pictures are sent to an engine with vision',
    reason: 'above that a page of A4 gets less than 1,400 tokens, too few for small print',
  },
  pdfPictureTokens: {
    value: 28_160,
    unit: 'count',
    bounds: 'tokens of the page pictures of one PDF; more pages get smaller pictures, of at least 1,024 pixels',
    reason: 'they fit in a context of 32,768; 12 pages of A4 at the 1,540 pixels of the model take 26,400',
  },
  pdfCharacters: {
    value: 4_000_000,
    unit: 'characters',
    bounds: 'text of one PDF',
    reason: 'four times the longest context',
  },
  pdfMemoryBytes: {
    value: 512 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'memory of one PDF reader',
    reason: 'a document of 24 MiB, its fonts and one decoded picture',
  },
  mediaFetchMs: {
    value: 10_000,
    unit: 'milliseconds',
    bounds: 'time to fetch one image or document',
    reason: '24 MiB at 20 Mbit/s',
  },
  mediaMs: {
    value: 20_000,
    unit: 'milliseconds',
    bounds: 'time to read all images and documents of one request',
    reason:
      'on a busy machine 100 pages of text took 1.2 s, and 20 pictured pages 2 s, or 8 s of scanned noise; waiting for a turn does not count',
  },
  mediaWaitMs: {
    value: 30_000,
    unit: 'milliseconds',
    bounds: "a request's wait for its turn to have media read at a worker, and for a PDF reader",
    reason: 'one reading for another tenant, at most 20 s, and half of that again',
  },
  mediaReadingPerWorker: {
    value: 8,
    unit: 'count',
    bounds: 'requests whose media one worker reads at a time',
    reason: 'each holds its body (at most 33 MiB) and the media read from it (at most 48 MiB)',
  },
  mediaReadingPerTenant: {
    value: 2,
    unit: 'count',
    bounds: 'requests of one tenant whose media one worker reads at a time',
    reason: 'a quarter of all, so that three tenants cannot keep a fourth out',
  },
  mediaWaitingPerWorker: {
    value: 128,
    unit: 'count',
    bounds: 'requests that wait at one worker for their media to be read',
    reason: 'a waiting request holds a connection but no memory: its body is not read yet',
  },
  mediaWaitingPerTenant: {
    value: 8,
    unit: 'count',
    bounds: 'requests of one tenant that wait at one worker for their media to be read',
    reason: 'four rounds of the two that are read at a time',
  },
  mediaAtOnce: {
    value: 4,
    unit: 'count',
    bounds: 'images and documents of one request that are read at a time',
    reason: 'the waits for four hosts overlap',
  },
  mediaBytes: {
    value: 48 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'all data read from the images and documents of one request',
    reason:
      'one image of 20 MiB and one document of 20 pictured pages of text fit in base64; without it 64 addresses used 1.7 GB',
  },
  shelfBytes: {
    value: 256 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'media that one worker keeps after reading it',
    reason: 'four tenants with a full share each; above it the tenant with the most media loses its oldest',
  },
  shelfBytesPerTenant: {
    value: 64 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'media of one tenant that one worker keeps after reading it',
    reason: 'the largest request of 48 MiB, and the conversation before it',
  },
  pdfReaders: {
    value: 2,
    unit: 'count',
    bounds: 'PDF documents that one worker reads at a time',
    reason: 'each may take one processor and 640 MiB',
  },
  pdfReadersPerTenant: {
    value: 1,
    unit: 'count',
    bounds: 'PDF documents of one tenant that one worker reads at a time',
    reason: 'one less than all, so that a reader stays free for another tenant',
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
    bounds: 'arguments of earlier tool calls of one request that are rewritten in the format of the model',
    reason: 'the text of the longest context of 262,144 tokens; longer ones are sent to the model unchanged',
  },
  jsonDepth: {
    value: 256,
    unit: 'count',
    bounds: 'levels of nesting in a JSON schema',
    reason: 'code that reads JSON uses stack for each level: 5,000 levels overflowed it',
  },
  engineSchemaParts: {
    value: 20_000,
    unit: 'count',
    bounds: 'parts of the schemas of one request that an engine over HTTP compiles',
    reason: '5,000 properties are 5,000 parts; llama-server compiles 2,000 branches in 0.3 s',
  },
  engineSchemaPairs: {
    value: 262_144,
    unit: 'count',
    bounds:
      'squares of the numbers of optional properties of each object, in the schemas of one request for such an engine',
    reason: 'llama-server v0.4.0 takes 0.8 s for one object with 500, and more than 6 s for one with 2,000',
  },
  schemaVisits: {
    value: 40_000,
    unit: 'count',
    bounds: 'parts visited while the schemas of one request are compiled; a reference counts each time',
    reason: '5,000 properties take 5,000 visits and 50 ms; 40,000 visits of short parts take 12 ms',
  },
  schemaCompared: {
    value: 400_000,
    unit: 'count',
    bounds: 'comparisons while branches of the schemas of one request are merged and distinguished',
    reason: 'merging 100 branches of 200 properties takes 40,000',
  },
  schemaAlternatives: {
    value: 10_000,
    unit: 'count',
    bounds: 'enum values and branches of the schemas of one request',
    reason: 'ten times the 1,000 enum values that OpenAI documents; values with a common beginning share one rule',
  },
  automatonSteps: {
    value: 300_000,
    unit: 'count',
    bounds: 'steps to make automata of the patterns, formats and numeric bounds in the schemas of one request',
    reason:
      'the longest pattern of zod, for email or date-time, takes under 20,000; 300,000 take half a second of a shared core',
  },
  automatonStates: {
    value: 10_000,
    unit: 'count',
    bounds: 'states of the automata of the schemas of one request',
    reason:
      'a pattern with a maximum of 255 characters has about 1,000; each state is one grammar rule of about 40 bytes',
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
    bounds: 'parse stacks of the grammar of one answer that are open at once',
    reason: 'each open stack is one pass over the vocabulary per token, 2 ms for 131,072 words: 256 of them take 0.5 s',
  },
  grammarSharedStacks: {
    value: 32,
    unit: 'count',
    bounds: 'open parse stacks of a run that is sampled together with others; runs with more take turns, one per step',
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
      'processor time to choose a token of a run that is sampled together with others; slower runs take turns, one per step',
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
    reason: 'the largest number of slots of a worker',
  },
  prepareMs: {
    value: 30_000,
    unit: 'milliseconds',
    bounds: 'preparation of one request by the engine: rendering, compiling, counting',
    reason: 'one million tokens of text take 1 s on two cores; a busy machine takes several times that',
  },
  tokeniseCharacters: {
    value: 256 * 1024,
    unit: 'characters',
    bounds: 'text of one request that the engine process holds for tokenising at a time',
    reason: 'longer prompts go in parts: with parts four times as long, 32 MB of text grew the process by 200 MB',
  },
  wordCharacters: {
    value: 64 * 1024,
    unit: 'characters',
    bounds: 'word that is tokenised as one; a longer word is split, which adds a token or two for each split',
    reason: 'merging a word of 65,536 letters takes 20 to 40 ms in short slices and up to 8 MB of memory',
  },
  countedContexts: {
    value: 4,
    unit: 'count',
    bounds: 'length, in context lengths, up to which a prompt that does not fit is counted',
    reason: 'counting 32 MB takes 5 s on two cores, of the longest words 30 s, and a refused request is not charged',
  },
  engineBeatMs: {
    value: 500,
    unit: 'milliseconds',
    bounds: 'time between two heartbeats of an engine process',
    reason: 'twenty of them fit into the silence after which the process is ended',
  },
  engineSilentMs: {
    value: 10_000,
    unit: 'milliseconds',
    bounds: 'silence of an engine process before it is ended',
    reason: 'its event loop has no work longer than 0.1 s, and it sends two heartbeats a second',
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
