/** Bodies and headers that are cheap to send and expensive to parse. */
import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { type Attack, inTurn, times, wait } from '../attack.ts'
import { type Answer, addKey, type World } from '../world.ts'

const mebibyte = 1_048_576

function wrapped(world: World, content: string): string {
  return `{"model":"${world.model}","max_tokens":4,"messages":[{"role":"user","content":"hi"}],"metadata":${content}}`
}

const arrays = (bytes: number) => `[${'[],'.repeat(Math.floor(bytes / 3))}[]]`

async function revoked(world: World): Promise<string> {
  const key = await addKey(world.product, world.attacker.tenantId)
  const keyId = key.split('_')[3]
  await world.product.admin('DELETE', `/admin/tenants/${world.attacker.tenantId}/keys/${keyId}`)
  return key
}

/** Writes bytes to a socket without awaiting an answer, and keeps the connection open for `ms`. */
function hold(world: World, head: string, body: number, ms: number): Promise<Answer> {
  const startedAt = performance.now()
  return new Promise((resolve) => {
    const socket = connect(world.product.port, '127.0.0.1')
    let text = ''
    const done = () =>
      resolve({ status: 0, text, headers: new Headers(), ms: Math.round(performance.now() - startedAt) })
    socket.on('error', done)
    socket.on('close', done)
    socket.on('data', (part) => {
      text += part.toString('latin1').slice(0, 1_000)
    })
    socket.write(head)
    for (let sent = 0; sent < body; sent += 65_536) socket.write(Buffer.alloc(65_536, 'a'))
    setTimeout(() => socket.destroy(), ms)
  })
}

const headOf = (world: World, length: number, key = world.attacker.apiKey) =>
  `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`

const noFault: Attack['expect'] = (answers) => {
  const wrong = answers.find(({ status }) => status >= 500)
  return wrong && `${wrong.status}: ${wrong.text.slice(0, 120)}`
}

/** In a thread of its own: the neighbour runs in this process. */
const compressed = promisify(gzip)

export const bodyAttacks: readonly Attack[] = [
  {
    name: 'body-gzip-bomb',
    quick: true,
    run: async (world) => {
      const bomb = new Uint8Array(await compressed(wrapped(world, `"${'x'.repeat(200 * mebibyte)}"`)))
      return times(20, () =>
        world.send('/v1/chat/completions', null, { raw: bomb, headers: { 'content-encoding': 'gzip' } }),
      )
    },
    expect: [413],
  },
  {
    name: 'body-gzip-dense',
    run: async (world) => {
      const line = () => `${randomBytes(150).toString('hex')}${'x'.repeat(13_000)}`
      const text = Array.from({ length: 1_500 }, line).join('')
      const dense = new Uint8Array(await compressed(wrapped(world, `"${text}"`)))
      return times(20, () =>
        world.send('/v1/chat/completions', null, { raw: dense, headers: { 'content-encoding': 'gzip' } }),
      )
    },
    expect: [400, 413, 429, 503],
  },
  {
    name: 'body-of-arrays-revoked-key',
    quick: true,
    run: async (world) => {
      const key = await revoked(world)
      return times(3, () =>
        world.send('/v1/chat/completions', null, { raw: wrapped(world, arrays(30 * mebibyte)), key }),
      )
    },
    expect: [401],
  },
  {
    name: 'body-of-arrays',
    run: (world) =>
      times(3, () => world.send('/v1/chat/completions', null, { raw: wrapped(world, arrays(31 * mebibyte)) })),
    expect: [400, 413],
  },
  {
    name: 'body-of-objects',
    run: (world) =>
      times(2, () => world.send('/v1/responses', null, { raw: wrapped(world, `[${'{"a":1},'.repeat(3_000_000)}0]`) })),
    expect: noFault,
  },
  {
    name: 'body-of-keys',
    run: (world) =>
      times(2, () =>
        world.send('/v1/messages', null, {
          raw: wrapped(world, `{${Array.from({ length: 1_000_000 }, (_, index) => `"k${index}":0`).join(',')}}`),
        }),
      ),
    expect: noFault,
  },
  {
    name: 'body-of-numbers',
    run: (world) =>
      times(2, () =>
        world.send('/v1/chat/completions', null, { raw: wrapped(world, `[${'1,'.repeat(12 * mebibyte)}1]`) }),
      ),
    expect: noFault,
  },
  {
    name: 'body-nested-a-million',
    run: (world) =>
      times(2, () =>
        world.send('/v1/chat/completions', null, {
          raw: wrapped(world, '['.repeat(1_000_000) + ']'.repeat(1_000_000)),
        }),
      ),
    expect: [400, 413],
  },
  {
    name: 'body-of-text-with-an-emoji',
    run: (world) =>
      inTurn(2, () => world.chat({ messages: [{ role: 'user', content: `😀${'a'.repeat(30 * mebibyte)}` }] })),
    expect: noFault,
  },
  {
    name: 'body-of-escapes',
    run: (world) =>
      inTurn(2, () =>
        world.send('/v1/responses', null, {
          raw: `{"model":"${world.model}","input":"${'\\u00e9'.repeat(5 * mebibyte)}"}`,
        }),
      ),
    expect: noFault,
  },
  {
    name: 'body-of-fifty-megabytes',
    run: (world) => times(2, () => world.send('/v1/chat/completions', null, { raw: 'a'.repeat(50 * mebibyte) })),
    // 503: bodies of this tenant already use its share of the memory.
    expect: [400, 413, 503],
  },
  {
    name: 'body-never-finished',
    run: (world) => times(20, () => hold(world, headOf(world, 30 * mebibyte), mebibyte, 5_000)),
  },
  {
    name: 'body-of-a-single-letter',
    run: (world) => times(2, () => world.chat({ messages: [{ role: 'user', content: 'a'.repeat(mebibyte) }] })),
    expect: noFault,
  },
  {
    name: 'body-of-spaces',
    run: (world) => times(2, () => world.chat({ messages: [{ role: 'user', content: ' \n\t'.repeat(600_000) }] })),
    expect: noFault,
  },
  {
    name: 'body-of-joined-emoji',
    run: (world) => times(2, () => world.chat({ messages: [{ role: 'user', content: '👩‍👩‍👧‍👦'.repeat(60_000) }] })),
    expect: noFault,
  },
  {
    name: 'body-of-messages',
    run: (world) =>
      times(2, () => world.chat({ messages: Array.from({ length: 100_000 }, () => ({ role: 'user', content: 'a' })) })),
    expect: noFault,
  },
  {
    name: 'counting-without-end',
    run: async (world) => {
      const big = 'hello world '.repeat(500_000)
      const body = { model: world.model, messages: [{ role: 'user', content: big }] }
      const first = await times(4, () => world.send('/v1/messages/count_tokens', body))
      return [...first, ...(await times(4, () => world.send('/v1/messages/count_tokens', body)))]
    },
    expect: (answers) => {
      const wrong = answers.find(
        ({ status, text, headers }) =>
          status === 200 && headers.get('x-tramontane-estimated') === 'false' && /"input_tokens":\s*4096\b/.test(text),
      )
      return wrong && `a truncated count is reported as exact: ${wrong.text}`
    },
  },
  {
    name: 'counting-and-leaving',
    run: (world) =>
      times(20, () =>
        world.send(
          '/v1/messages/count_tokens',
          { model: world.model, messages: [{ role: 'user', content: 'a b '.repeat(400_000) }] },
          { leaveMs: 300 },
        ),
      ),
  },
  {
    name: 'header-control-characters',
    quick: true,
    run: (world) =>
      inTurn(6, (index) =>
        world.send(index % 2 === 0 ? '/v1/responses' : '/v1/responses/input_tokens', {
          model: world.model,
          max_output_tokens: 4,
          input: [
            { type: ['x\r\nset-cookie: a=b', 'a\nb', 'a\u0000b', '\u007f', 'é😀', 'x'.repeat(5_000)][index] },
            { role: 'user', content: 'hi' },
          ],
        }),
      ),
    expect: noFault,
  },
  {
    name: 'header-of-many-warnings',
    run: (world) =>
      world
        .send('/v1/responses', {
          model: world.model,
          max_output_tokens: 4,
          input: [
            ...Array.from({ length: 2_000 }, (_, index) => ({ type: `type${index}${'y'.repeat(50)}` })),
            { role: 'user', content: 'hi' },
          ],
        })
        .then((answer) => [answer]),
    expect: (answers) => {
      const size = [...(answers[0]?.headers ?? [])].reduce((sum, [name, value]) => sum + name.length + value.length, 0)
      return size > 8_192 || answers[0]?.status === 0 ? `the response headers have ${size} characters` : undefined
    },
  },
  {
    name: 'field-names-of-megabytes',
    run: (world) =>
      times(2, () =>
        world.send('/v1/responses', null, {
          raw: `{"model":"${world.model}","input":[{"role":"user","${'k'.repeat(2 * mebibyte)}":1}]}`,
        }),
      ),
    expect: (answers) =>
      answers.some(({ text }) => text.length > 100_000) ? 'the response repeats the whole field name' : undefined,
  },
  {
    name: 'model-name-of-megabytes',
    run: (world) => times(2, () => world.chat({ model: 'm\r\n'.repeat(mebibyte) })),
    expect: (answers) =>
      answers.some(({ text, status }) => text.length > 10_000 || status >= 500)
        ? 'the response repeats the whole model name'
        : undefined,
  },
  {
    name: 'path-malformed',
    run: async (world) => [
      await world.send('/v1/responses/%E0%A4%A', null, { method: 'GET' }),
      await world.send('/v1/models/%E0%A4%A', null, { method: 'GET' }),
      await world.send(`/v1/models/${'a'.repeat(8_000)}`, null, { method: 'GET' }),
      await world.send('/v1/usage?from=%E0%A4%A&bucket=%00', null, { method: 'GET' }),
    ],
    expect: noFault,
  },
  {
    name: 'previous-response-of-megabytes',
    run: (world) =>
      times(2, () =>
        world.send('/v1/responses', { model: world.model, input: 'hi', previous_response_id: 'resp_'.repeat(200_000) }),
      ),
    expect: noFault,
  },
  {
    name: 'slow-requests',
    run: async (world) => {
      const open = times(100, () => hold(world, headOf(world, 1_000), 0, 6_000))
      await wait(1)
      return open
    },
  },
]
