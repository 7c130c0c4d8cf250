/** A worker's heartbeats to an edge on a real socket, and the notes of its previous process. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sealKey } from '../../backends/wire/seal.ts'
import { Heartbeats, pauseMs } from '../../gpu-worker/heartbeat.ts'
import { beginLife } from '../../gpu-worker/life.ts'
import { testBeat } from '../support/fleet.ts'

let server: Server
let answer: { status: number; body: unknown }
let beats: number
let paths: string[]
let lines: string[]
let heartbeats: Heartbeats
const log = (line: string) => void lines.push(line)

beforeEach(async () => {
  answer = { status: 200, body: { edgeNow: 1, state: 'ready' } }
  beats = 0
  paths = []
  lines = []
  server = createServer((request, response) => {
    beats += 1
    paths.push(request.url ?? '')
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(JSON.stringify(answer.body))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const edgeUrl = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const key = await sealKey(new Uint8Array(32).fill(3))
  heartbeats = new Heartbeats({ edgeUrl, kid: 'w1.1', key, state: () => testBeat('w1'), log })
})

afterEach(() => {
  heartbeats.stop()
  server.closeAllConnections()
  server.close()
})

describe('heartbeats', () => {
  it('[CFG14] a heartbeat goes below the path of the gateway’s URL', async () => {
    expect(await heartbeats.beat()).toBe(true)
    const edgeUrl = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/gateway`)
    const key = await sealKey(new Uint8Array(32).fill(3))
    expect(await new Heartbeats({ edgeUrl, kid: 'w1.1', key, state: () => testBeat('w1'), log }).beat()).toBe(true)
    expect(paths).toEqual(['/internal/heartbeat', '/gateway/internal/heartbeat'])
  })

  it('[WHB1] each reason is logged once even if its numbers change, and so is its end', async () => {
    const beatWith = async (status: number, body: unknown) => {
      answer = { status, body }
      return heartbeats.beat()
    }
    const clock = (seconds: number) => ({ edgeNow: 1, state: 'clock', reason: `the clock is ${seconds} s behind` })
    expect(await beatWith(200, { edgeNow: 1, state: 'ready' })).toBe(true)
    expect(await beatWith(403, clock(61))).toBe(false)
    expect(await beatWith(403, clock(62))).toBe(false)
    expect(await beatWith(409, { edgeNow: 1, state: 'duplicate', reason: 'another process\r\nis live' })).toBe(false)
    expect(await beatWith(403, { message: 'key 1 was revoked' })).toBe(false)
    expect(await beatWith(200, { edgeNow: 1, state: 'duplicate', reason: 'another process is live' })).toBe(true)
    expect(await beatWith(200, { edgeNow: 1, state: 'ready' })).toBe(true)
    expect(lines).toEqual([
      'heartbeat refused: the clock is 61 s behind',
      'heartbeat refused: another process??is live',
      'heartbeat refused: key 1 was revoked',
      'heartbeat: another process is live',
      'heartbeat: the gateway accepts this worker again',
    ])
    await beatWith(403, { edgeNow: 1, state: 'refused', reason: 'x'.repeat(100_000) })
    expect(lines.at(-1)?.length).toBeLessThan(1_000)
  })

  it('[WHB1] a worker that is refused at its start retries less and less often, and starts once it is accepted', async () => {
    answer = { status: 403, body: { message: 'not enrolled' } }
    const begun = heartbeats.start()
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    expect(beats).toBeGreaterThan(1)
    expect(beats).toBeLessThan(6)
    answer = { status: 200, body: { edgeNow: 1, state: 'ready' } }
    await begun
    expect([0, 1, 2, 3, 6, 100].map((failures) => pauseMs('refused', failures))).toEqual([
      100, 200, 400, 800, 5_000, 5_000,
    ])
    expect([0, 3, 4, 100].map((failures) => pauseMs('no-answer', failures))).toEqual([100, 800, 1_000, 1_000])
  })
})

describe('a worker process', () => {
  const folder = () => mkdtempSync(join(tmpdir(), 'tramontane-life-'))

  it('[WHB2] a process replaces the one that its folder names, and reports how that one ended', () => {
    const path = folder()
    const first = beginLife(path, () => 1_000, log).signs()
    expect(first).toMatchObject({ sentAt: 1_000, startedAt: 1_000, replaces: null, lastEnd: null })
    const crashed = beginLife(path, () => 2_000, log)
    expect(crashed.signs()).toMatchObject({
      replaces: first.instance,
      lastEnd: expect.stringContaining('did not shut down cleanly'),
    })
    expect(crashed.signs().instance).not.toBe(first.instance)
    crashed.ended()
    expect(beginLife(path, () => 3_000, log).signs()).toMatchObject({
      replaces: crashed.signs().instance,
      lastEnd: null,
    })
    writeFileSync(join(path, 'end.json'), JSON.stringify({ reason: 'its loop\nwas blocked', at: 0 }))
    const ended = beginLife(path, () => 4_000, log).signs()
    expect(ended.lastEnd).toBe(
      'the watchdog of the previous process killed it at 1970-01-01T00:00:00.000Z: its loop?was blocked',
    )
    expect(lines.at(-1)).toBe(ended.lastEnd)
    // Only one process reports it.
    expect(beginLife(path, () => 5_000, log).signs().lastEnd).not.toContain('watchdog')
  })

  it('[WHB2] a worker starts even if its notes cannot be read or written', () => {
    const path = folder()
    writeFileSync(join(path, 'life.json'), '{"instance": 3')
    writeFileSync(join(path, 'end.json'), '[]')
    expect(beginLife(path, () => 1, log).signs()).toMatchObject({ replaces: null, lastEnd: null })
    expect(JSON.parse(readFileSync(join(path, 'life.json'), 'utf8'))).toMatchObject({ ended: false })
    expect(beginLife(join(path, 'absent'), () => 1, log).signs()).toMatchObject({ replaces: null, lastEnd: null })
    expect(lines.at(-1)).toContain('cannot write')
  })

  it('[WHB3] heartbeat times strictly rise, and a clock that is set back starts a new instance', () => {
    let now = 10_000
    const life = beginLife(folder(), () => now, log)
    const [first, second] = [life.signs(), life.signs()]
    expect([first.sentAt, second.sentAt]).toEqual([10_000, 10_001])
    now = 9_500
    expect(life.signs()).toMatchObject({ sentAt: 10_002, instance: first.instance })
    now = 4_000
    const after = life.signs()
    expect(after).toMatchObject({ sentAt: 4_000, startedAt: 4_000, replaces: first.instance })
    expect(after.instance).not.toBe(first.instance)
  })
})
