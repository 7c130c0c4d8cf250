/** Programs of the repository as npm and the shell start them. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, it } from 'vitest'
import { loopbackNoProxy } from '../../backends/contract/no-proxy.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const execute = promisify(execFile)

describe('npm scripts', () => {
  it('[RUN11] every script that runs a TypeScript file installs the packages first', () => {
    const { scripts } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8')) as { scripts: Record<string, string> }
    const programs = Object.keys(scripts).filter((name) => /^node \S+\.ts\b/.test(scripts[name] ?? ''))
    expect(programs).toEqual(expect.arrayContaining(['start', 'worker', 'gpu', 'doctor', 'plan', 'backup']))
    for (const name of programs) expect(scripts[`pre${name}`], name).toMatch(/^node src\/local\/ensure\.mjs( --dev)?$/)
  })

  it('[RUN11] `--help` and `-h` print the usage of the worker without a setting', async () => {
    for (const flag of ['--help', '-h']) {
      const { stdout, stderr } = await execute(process.execPath, ['gpu-worker/main.ts', flag], { cwd: root })
      expect(stdout).toContain('usage: npm run worker -- [--backend NAME]')
      expect(stderr).toBe('')
    }
  }, 60_000)
})

describe('a proxy', () => {
  const servers: Server[] = []
  afterAll(() => {
    for (const server of servers) server.close()
  })

  /** Counts requests and tunnels. */
  async function counter(): Promise<{ port: number; count: () => number }> {
    let calls = 0
    const server = createServer((_, response) => {
      calls += 1
      response.end('{}')
    }).on('connect', (_, socket) => {
      calls += 1
      // The worker is killed in the middle of its call.
      socket.on('error', () => undefined)
      socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n')
    })
    servers.push(server.listen(0, '127.0.0.1'))
    await once(server, 'listening')
    return { port: (server.address() as AddressInfo).port, count: () => calls }
  }

  it('[RUN10] loopback addresses join the given ones, in both spellings, and only if there is a proxy', () => {
    expect(loopbackNoProxy({ NO_PROXY: 'a' })).toEqual({})
    expect(loopbackNoProxy({ HTTP_PROXY: '' })).toEqual({})
    const both = (text: string) => ({ no_proxy: text, NO_PROXY: text })
    const rows: [variables: Record<string, string>, entries: string][] = [
      [{}, '127.0.0.1,localhost,[::1],::1'],
      [{ NO_PROXY: 'a.test, localhost' }, 'a.test,localhost,127.0.0.1,[::1],::1'],
      [{ no_proxy: '', NO_PROXY: 'a.test' }, 'a.test,127.0.0.1,localhost,[::1],::1'],
      [{ no_proxy: '*' }, '*'],
    ]
    for (const name of ['HTTP_PROXY', 'https_proxy', 'ALL_PROXY'])
      for (const [variables, entries] of rows)
        expect(loopbackNoProxy({ ...variables, [name]: 'http://proxy.test:3128' })).toEqual(both(entries))
  })

  it('[RUN10] a worker reaches a gateway on this machine past the proxy, and another one through it', async () => {
    const [gateway, proxy] = await Promise.all([counter(), counter()])
    const { NO_PROXY: _, no_proxy: __, ...own } = process.env
    const home = mkdtempSync(join(tmpdir(), 'tramontane-proxy-'))
    const since =
      (count: () => number, before = count()) =>
      () =>
        count() - before
    const beats = async (edgeUrl: string, { count }: { count: () => number }) => {
      const env = {
        ...own,
        NODE_USE_ENV_PROXY: '1',
        HTTP_PROXY: `http://127.0.0.1:${proxy.port}`,
        TRAMONTANE_HOME: home,
        TRAMONTANE_WORKER_KEY: `tw_gpu-1_1_${'A'.repeat(43)}`,
        TRAMONTANE_EDGE_URL: edgeUrl,
        TRAMONTANE_BACKEND: 'openai-compatible',
        TRAMONTANE_ENGINE_URL: 'http://127.0.0.1:9',
      }
      const worker = spawn(process.execPath, ['gpu-worker/main.ts'], { cwd: root, env, stdio: 'ignore' })
      await expect.poll(count, { timeout: 15_000 }).toBeGreaterThan(0)
      worker.kill('SIGKILL')
      await once(worker, 'exit')
    }
    await beats(`http://localhost:${gateway.port}`, gateway)
    await beats(`http://127.0.0.1:${gateway.port}`, { count: since(gateway.count) })
    expect(proxy.count()).toBe(0)
    await beats('http://gateway.test:8787', proxy)
    rmSync(home, { recursive: true, force: true })
  }, 60_000)
})
