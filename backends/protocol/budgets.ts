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
    reason: 'each request that waits for its turn to read media has one, at most 128, and idle ones are kept 60 s',
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
    reason: "the largest request body, and what rewriting it in another dialect's words adds",
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
    reason: 'half of all, so that one tenant leaves a place for another',
  },
  imagesPerRequest: {
    value: 64,
    unit: 'count',
    bounds: 'images of one request, those in tool results included',
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
    reason: 'what OpenAI takes; checking one in a data URL takes 50 ms of the main loop',
  },
  documentBytes: {
    value: 24 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'one document, decoded',
    reason: 'the most that fits a request body in base64',
  },
  imagePixels: {
    value: 64_000_000,
    unit: 'count',
    bounds: 'pixels of one image',
    reason: 'a decoder holds four bytes for each: 256 MB',
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
    bounds: 'pages of one PDF whose pictures an engine with vision gets',
    reason: 'about 28,000 tokens of pictures',
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
      'on a busy machine 100 pages of text took 1.2 s and 20 pictured pages 1.5 s; waiting for a turn is not part of it',
  },
  mediaWaitMs: {
    value: 30_000,
    unit: 'milliseconds',
    bounds: "a request's wait for its turn to have media read at a worker, and for a PDF reader",
    reason: 'one reading by another tenant, at most 20 s, and half of it again',
  },
  mediaReadingPerWorker: {
    value: 8,
    unit: 'count',
    bounds: 'requests whose media one worker reads at a time',
    reason: 'each holds its body, at most 33 MiB, and what is read of it, at most 48 MiB',
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
    reason: 'a request that waits holds a connection and no memory: its body is not read yet',
  },
  mediaWaitingPerTenant: {
    value: 8,
    unit: 'count',
    bounds: 'requests of one tenant that wait at one worker for their media to be read',
    reason: 'four rounds of its own two',
  },
  mediaAtOnce: {
    value: 4,
    unit: 'count',
    bounds: 'images and documents of one request that are read at a time',
    reason: 'the wait for the hosts of four addresses overlaps',
  },
  mediaBytes: {
    value: 48 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'all that is read of the images and documents of one request',
    reason:
      'one image of 20 MiB and one document of 20 pictured pages fit in base64; without it 64 addresses made 1.7 GB',
  },
  shelfBytes: {
    value: 256 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'what one worker keeps of the media that it read',
    reason: 'four tenants with a full share each; beyond it the tenant that has most loses its oldest',
  },
  shelfBytesPerTenant: {
    value: 64 * 1024 * 1024,
    unit: 'bytes',
    bounds: 'what one worker keeps of the media that it read for one tenant',
    reason: 'the largest request of 48 MiB, and the conversation before it',
  },
  pdfReaders: {
    value: 2,
    unit: 'count',
    bounds: 'documents in PDF that one worker reads at a time',
    reason: 'each may take one processor and 640 MiB',
  },
  pdfReadersPerTenant: {
    value: 1,
    unit: 'count',
    bounds: 'documents in PDF of one tenant that one worker reads at a time',
    reason: 'one less than all, so that another tenant finds a reader free',
  },
} as const satisfies Record<string, Budget>

export type BudgetName = keyof typeof budgets
