/** The first `npm start` of a new user, and its messages when it fails. */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually, freePort, type Product, startAndFail, startProduct, temporaryHome } from '../support/product.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

describe('a first run', () => {
  const home = temporaryHome()
  let product: Product

  beforeAll(async () => {
    product = await startProduct({ home })
  })

  afterAll(async () => {
    await product?.stop()
  })

  it('[RUN1] `npm start` prints its URL, an API key and a curl command that works as printed, and states that the model is a toy', async () => {
    const output = product.output()
    const { baseUrl, apiKey, model } = product.demo()
    for (const text of [baseUrl, apiKey, model, 'toy', 'TRAMONTANE_MODEL=']) expect(output).toContain(text)
    const body = /-d '(.*)'/.exec(output)?.[1]
    const response = await fetch(`${baseUrl}/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      body: body ?? '',
    })
    expect(await response.text()).toContain('data: [DONE]')
  })

  it('[RUN2] `npm start` writes `demo.json` for scripts, readable only by its owner', () => {
    expect(product.demoMode()).toBe(0o600)
    expect(product.demo()).toMatchObject({
      operatorKey: expect.stringMatching(/^tmop_/),
      pids: { workerd: expect.any(Number) },
    })
  })

  it('[RUN3] a second start on the same state folder exits with code 1 and a one-line message', async () => {
    const { code, stderr } = await startAndFail({ TRAMONTANE_HOME: home, PORT: String(await freePort()) })
    expect(code).toBe(1)
    expect(stderr.trim().split('\n')).toEqual([expect.stringContaining('is in use by process')])
  })

  it('[RUN4] sIGTERM ends every process that the start created, and the next start has the same key and the same ledger', async () => {
    await product.client().chat.completions.create({
      model: product.demo().model,
      messages: [{ role: 'user', content: 'Hello!' }],
      max_tokens: 3,
    })
    const settled = () => product.tenant('demo')
    const before = await eventually(settled, (tenant) => tenant.openReservations === 0)
    const { pids, apiKey } = product.demo()
    expect(await product.stop()).toBe(0)
    for (const [name, pid] of Object.entries(pids)) {
      expect(
        await eventually(
          async () => isAlive(pid),
          (alive) => !alive,
        ),
        name,
      ).toBe(false)
    }
    expect(existsSync(join(home, 'demo.json'))).toBe(false)
    product = await startProduct({ home })
    expect(product.demo().apiKey).toBe(apiKey)
    expect(await settled()).toMatchObject({ postedNano: before.postedNano, totals: before.totals })
  })
})

describe('npm start', () => {
  it('[RUN10] with a proxy that cannot be reached, the product starts and answers', async () => {
    const env = { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: 'http://127.0.0.1:9', NO_PROXY: '', no_proxy: '' }
    const product = await startProduct({ env })
    const { model } = product.demo()
    const answer = await product.client().chat.completions.create({
      model,
      messages: [{ role: 'user', content: 'Hello!' }],
      max_tokens: 3,
    })
    expect(answer.usage?.completion_tokens).toBeGreaterThan(0)
    await product.stop()
  })

  it('[RUN6] sIGTERM to `npm` itself also ends every process', async () => {
    const home = temporaryHome()
    const env = { ...process.env, TRAMONTANE_HOME: home, PORT: String(await freePort()) }
    const npm = spawn('npm', ['start'], { cwd: root, env, stdio: 'ignore' })
    const demo = join(home, 'demo.json')
    const ready = async () => existsSync(demo)
    expect(await eventually(ready, (there) => there, 60_000)).toBe(true)
    const { pids } = JSON.parse(readFileSync(demo, 'utf8')) as { pids: Record<string, number> }
    npm.kill('SIGTERM')
    const alive = async () => Object.values(pids).filter((pid) => pid !== null && isAlive(pid))
    const left = await eventually(alive, (pids) => pids.length === 0, 45_000)
    // Processes that outlive a failed test are ended here.
    if (left.length > 0) if (pids.start) process.kill(pids.start, 'SIGTERM')
    expect(left).toEqual([])
    rmSync(home, { recursive: true, force: true })
  })
})

describe('a start that cannot succeed', () => {
  const cases: [string, () => Promise<Record<string, string>>, RegExp][] = [
    [
      'a busy port',
      async () => {
        const server = createServer()
        await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
        const address = server.address()
        if (address === null || typeof address === 'string') throw new Error('no port')
        setTimeout(() => server.close(), 20_000).unref()
        server.unref()
        return { PORT: String(address.port) }
      },
      /port \d+ is in use.*PORT=/,
    ],
    ['an invalid port', async () => ({ PORT: 'http' }), /PORT must be a number/],
    [
      'a missing model file',
      async () => ({ TRAMONTANE_MODEL: '/nonexistent/model.gguf' }),
      /file \/nonexistent\/model.gguf not found/,
    ],
    [
      'a file that is no model',
      async () => {
        const path = join(temporaryHome(), 'model.gguf')
        writeFileSync(path, 'GGUF but not really')
        return { TRAMONTANE_MODEL: path }
      },
      /model\.gguf/,
    ],
    [
      'a corrupt state file',
      async () => {
        const home = temporaryHome()
        mkdirSync(home, { recursive: true })
        writeFileSync(join(home, 'state.json'), '{"version": 1, "keySecret": ')
        return { TRAMONTANE_HOME: home }
      },
      /state\.json is corrupt.*move it away/,
    ],
  ]

  it.each(cases)('[RUN5] %s: the start exits with code 1 and one line', async (_, environment, sentence) => {
    const env = { TRAMONTANE_HOME: temporaryHome(), PORT: String(await freePort()), ...(await environment()) }
    const { code, stderr } = await startAndFail(env)
    expect(stderr.trim()).toMatch(sentence)
    expect(stderr.trim().split('\n').length).toBe(1)
    expect(code).toBe(1)
  })
})
