/** Runs the doctor as a program, and checks its output and exit code. */
import { execFile } from 'node:child_process'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import type { HttpCall } from '../../../backends/contract/backend.ts'
import { createOperatorServer, type OperatorParts } from '../../../gpu-worker/operator-port.ts'
import { startEngineProcess } from '../../support/engine-at.ts'
import type { DocumentedAnswer } from '../../tools/conformance/documented/model.ts'
import { documented as ollama } from '../../tools/conformance/documented/ollama.ts'
import { serve } from '../../tools/conformance/documented/server.ts'
import { documented as sglang } from '../../tools/conformance/documented/sglang.ts'

const program = fileURLToPath(new URL('../../../gpu-worker/doctor/main.ts', import.meta.url))

function doctor(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) =>
    execFile(process.execPath, [program, ...args], (error, out, err) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err }),
    ),
  )
}

const open: { stop(): Promise<void> }[] = []
afterEach(async () => {
  for (const server of open.splice(0)) await server.stop()
})
async function engine(answer: (call: HttpCall) => DocumentedAnswer): Promise<string> {
  const server = await serve(answer)
  open.push(server)
  return server.url
}

/** SGLang with another configuration. */
function sglangWith(info: Record<string, unknown>, lose: (text: string) => string = (text) => text) {
  const answer = sglang()
  return (call: HttpCall): DocumentedAnswer => {
    const original = answer(call)
    if (call.path !== '/server_info') return { ...original, parts: original.parts.map(lose) }
    return { ...original, parts: [JSON.stringify({ ...JSON.parse(original.parts.join('')), ...info })] }
  }
}

async function worker(health: OperatorParts['health']): Promise<string> {
  const server = createOperatorServer({ health, render: () => '' })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  open.push({ stop: async () => void server.close() })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

describe('the doctor', () => {
  it('[DOC1] a wrong address or argument prints one line and exits with code 1', async () => {
    const cases: [string[], RegExp][] = [
      [['http://127.0.0.1:9'], /^doctor: no answer from http:\/\/127\.0\.0\.1:9\. Start the engine there/],
      [['localhost:8000'], /^doctor: localhost:8000 is not the URL of an engine\. Use the form http:\/\/HOST:PORT/],
      [[], /^doctor: usage: .*npm run doctor -- URL/],
      [['http://127.0.0.1:9', '--backend', 'tgi'], /^doctor: --backend: unknown engine tgi\. Use one of vllm, sglang/],
    ]
    for (const [args, expected] of cases) {
      const { code, out, err } = await doctor(...args)
      expect([code, out]).toEqual([1, ''])
      expect(err).toMatch(expected)
      expect(err.trim().split('\n')).toHaveLength(1)
    }
  })

  it('[DOC7] the cause of a refused everyday chat is printed with its remedy', async () => {
    const message = "get_lark_from_jinja() missing 1 required keyword-only argument: 'force_tool_names'"
    const refusal = { status: 400, body: { error: { message, type: 'BadRequestError', code: 400 } } }
    const at = await startEngineProcess({ dialect: 'vllm', version: '0.33.0', refusal })
    open.push(at)
    const { code, out } = await doctor(at.url)
    expect(code).toBe(1)
    expect(out).toMatch(/BROKEN: it answers an everyday chat with 400: .*"mistral_common>=1\.11\.6,<1\.13"/)
  })

  it('[DOC2] an endpoint that is no engine, is not the named engine, or requires a key is reported', async () => {
    const site = await engine(() => ({ status: 200, headers: { 'content-type': 'text/html' }, parts: ['<html>'] }))
    expect((await doctor(site)).err).toMatch(/is not a known engine\. Correct the address, or set --backend/)
    expect((await doctor(await engine(sglang()), '--backend', 'vllm')).err).toMatch(/is not vllm/)
    const locked = await engine(() => ({ status: 401, headers: {}, parts: ['{"error": "Unauthorized"}'] }))
    expect((await doctor(locked)).err).toMatch(/requires a key\. Set TRAMONTANE_ENGINE_KEY/)
  })

  it('[DOC3] the doctor prints the engine, its version and each check, for a base URL with or without /v1', async () => {
    const { code, out } = await doctor(`${await engine(sglang())}/v1/`)
    expect(out).toMatch(/^SGLang 0\.5\.23: model mistral-small-4, 4096 tokens per request, 128 concurrent requests\n/)
    expect(out).toMatch(/\n {2}effort +holds +\d+ tokens at none, \d+ at high\n/)
    // The scripted engine does not notice a client that disconnects.
    expect(out).toMatch(/cancel +DOES NOT HOLD/)
    expect(code).toBe(1)
  })

  it('[DOC4] the doctor names the flag that fixes each failed check', async () => {
    const lost = (text: string) => text.replaceAll(/"prompt_tokens_details":\{[^}]*\},/g, '')
    const { out } = await doctor(await engine(sglangWith({ enable_cache_report: false }, lost)))
    expect(out).toContain(
      'note: cached tokens are not reported and are billed as fresh: start SGLang with --enable-cache-report',
    )
    expect(out).toMatch(/cached-tokens +DOES NOT HOLD/)
    expect(out.slice(out.indexOf('What to do:'))).toContain('  cached-tokens: start SGLang with --enable-cache-report')
  })

  it('[DOC6] at the address of a worker, the doctor prints its protocol version and why it is not ready', async () => {
    const reason = 'the gateway writes protocol version 4. Upgrade this worker.'
    const behind = await worker(() => ({ status: 'incompatible', reason, protocol: 2, receipts: {} }))
    const refused = await doctor(behind)
    expect([refused.code, refused.err]).toEqual([1, ''])
    expect(refused.out).toBe(`${behind} is a worker of protocol version 2: incompatible. ${reason}\n`)
    const well = await worker(() => ({ status: 'ready', protocol: 2 }))
    expect(await doctor(well)).toEqual({ code: 0, out: `${well} is a worker of protocol version 2: ready\n`, err: '' })
    // Another service with the same route is no worker.
    expect((await doctor(await worker(() => ({ status: 'ready' })))).err).toMatch(/is not a known engine/)
  })

  it('[DOC5] the exit code is 1 for a broken engine, and 0 for an engine with limits', async () => {
    const broken = { speculative_algorithm: 'EAGLE', attention_backend: 'triton' }
    const { code, out } = await doctor(await engine(sglangWith(broken)))
    expect(out).toMatch(/BROKEN: speculation with the Triton MLA backend/)
    expect([code, out.trim().endsWith('A worker cannot use this engine as it is.')]).toEqual([1, true])
    const limited = await doctor(await engine(ollama()))
    expect(limited.out).toMatch(/over-context +DOES NOT HOLD/)
    expect([limited.code, limited.out.trim().endsWith('except for the features that do not hold.')]).toEqual([0, true])
  })
})
