/**
 * `npm run attack:memory`: what the gateway's isolate holds at its peak while it reads the largest bodies, by kind of body
 * and by dialect. Cloudflare gives an isolate 128 MiB.
 *
 * The figures are V8's own (`Runtime.getHeapUsage`), read in short intervals: the used heap, garbage included, and the
 * array buffers. V8 answers between two synchronous steps, so a peak within a step is seen as what the step leaves before
 * a collection. The heap is collected before each body.
 */
import { freePort, startProduct } from '../../support/product.ts'

const everyMs = 3
const isolateMiB = 128
const mib = 2 ** 20
const sizes = [19.9, 16, 12, 8]
/** So many of one kind at once. */
const crowds = [1, 4]

type Content = string | object[]
type Dialect = 'chat' | 'messages' | 'responses'

const paths: Record<Dialect, string> = {
  chat: '/v1/chat/completions',
  messages: '/v1/messages',
  responses: '/v1/responses',
}

/** A body of about so many bytes. */
const kinds: Record<string, (bytes: number, dialect: Dialect) => string> = {
  ASCII: (bytes, dialect) => write(dialect, 'a'.repeat(bytes)),
  Chinese: (bytes, dialect) => write(dialect, '漢'.repeat(bytes / 3)),
  'ASCII and an emoji': (bytes, dialect) => write(dialect, `😀${'a'.repeat(bytes)}`),
  escapes: (bytes, dialect) => write(dialect, '\n'.repeat(bytes / 2)),
  image: (bytes, dialect) => write(dialect, [imageOf(dialect, 'A'.repeat(bytes))]),
  'short messages': (bytes, dialect) => write(dialect, 'x', Math.floor(bytes / 40)),
  messages: (bytes, dialect) => write(dialect, 'a'.repeat(960), Math.floor(bytes / 1_000)),
}

const inspectorPort = await freePort()
const product = await startProduct({ env: { TRAMONTANE_INSPECTOR_PORT: String(inspectorPort) } })
const { apiKey, model } = product.demo()
const inspector = await connect(inspectorPort)
let worst = 0
process.stdout.write(
  '| dialect | body | MiB | at once | statuses | heap | buffers | peak | |\n|---|---|---|---|---|---|---|---|---|\n',
)
try {
  for (const dialect of Object.keys(paths) as Dialect[]) {
    for (const [kind, make] of Object.entries(kinds)) {
      for (const [size, crowd] of sizes.flatMap((size) => crowds.map((crowd) => [size, crowd] as const))) {
        const { statuses, heap, buffers, peak } = await measure(dialect, make(size * mib, dialect), crowd)
        worst = Math.max(worst, peak)
        const figures = [heap, buffers, peak].map((bytes) => (bytes / mib).toFixed(0)).join(' | ')
        const verdict = peak < isolateMiB * mib ? 'ok' : 'ABOVE'
        process.stdout.write(
          `| ${dialect} | ${kind} | ${size} | ${crowd} | ${statuses.join(' ')} | ${figures} | ${verdict} |\n`,
        )
      }
    }
  }
} finally {
  inspector.close()
  await product.stop()
}
process.stdout.write(`\nthe worst peak is ${(worst / mib).toFixed(0)} MiB of ${isolateMiB}\n`)
process.exit(worst < isolateMiB * mib ? 0 : 1)

async function measure(dialect: Dialect, text: string, crowd: number) {
  const body = new TextEncoder().encode(text)
  await inspector.call('HeapProfiler.collectGarbage')
  let open = crowd
  const answers = Array.from({ length: crowd }, async () => {
    try {
      const response = await fetch(`http://127.0.0.1:${product.port}${paths[dialect]}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
        body,
        signal: AbortSignal.timeout(30_000),
      })
      await response.arrayBuffer()
      return response.status
    } catch {
      return 0
    } finally {
      open -= 1
    }
  })
  const most = { heap: 0, buffers: 0, peak: 0 }
  while (open > 0) {
    const { usedSize, backingStorageSize } = await inspector.call('Runtime.getHeapUsage')
    if (usedSize + backingStorageSize > most.peak)
      Object.assign(most, { heap: usedSize, buffers: backingStorageSize, peak: usedSize + backingStorageSize })
    await new Promise((resolve) => setTimeout(resolve, everyMs))
  }
  return { statuses: await Promise.all(answers), ...most }
}

function write(dialect: Dialect, content: Content, count = 1): string {
  const messages = Array.from({ length: count }, () => ({ role: 'user', content }))
  switch (dialect) {
    case 'chat':
      return JSON.stringify({ model, max_tokens: 1, messages })
    case 'messages':
      return JSON.stringify({ model, max_tokens: 1, messages })
    case 'responses':
      return JSON.stringify({ model, max_output_tokens: 16, store: false, input: messages })
  }
}

function imageOf(dialect: Dialect, base64: string): object {
  const url = `data:image/png;base64,${base64}`
  switch (dialect) {
    case 'chat':
      return { type: 'image_url', image_url: { url } }
    case 'messages':
      return { type: 'image', source: { type: 'base64', media_type: 'image/png', data: base64 } }
    case 'responses':
      return { type: 'input_image', image_url: url, detail: 'auto' }
  }
}

interface HeapUsage {
  usedSize: number
  backingStorageSize: number
}

/** The inspector of the gateway's isolate, of those that the process has. */
async function connect(port: number) {
  const targets = (await (await fetch(`http://127.0.0.1:${port}/json`)).json()) as { webSocketDebuggerUrl: string }[]
  const socket = new WebSocket(targets[0]?.webSocketDebuggerUrl ?? '')
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve, { once: true })
    socket.addEventListener('error', reject, { once: true })
  })
  let last = 0
  const waiting = new Map<number, (result: HeapUsage) => void>()
  socket.addEventListener('message', ({ data }) => {
    const { id, result } = JSON.parse(String(data)) as { id?: number; result?: HeapUsage }
    if (id === undefined) return
    waiting.get(id)?.(result ?? { usedSize: 0, backingStorageSize: 0 })
    waiting.delete(id)
  })
  return {
    call(method: string): Promise<HeapUsage> {
      const { promise, resolve } = Promise.withResolvers<HeapUsage>()
      last += 1
      waiting.set(last, resolve)
      socket.send(JSON.stringify({ id: last, method }))
      return promise
    },
    close: () => socket.close(),
  }
}
