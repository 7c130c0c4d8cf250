/** `npm run eval` against the whole product: its results, how it stops and how it resumes. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eventually, isZero, type Product, startProduct, zero } from '../support/product.ts'
import { keyOf, readJournal } from '../tools/eval/journal.ts'

const program = fileURLToPath(new URL('../tools/eval/run.ts', import.meta.url))
const sample = (name: string) => fileURLToPath(new URL(`../tools/eval/samples/${name}.jsonl`, import.meta.url))

let product: Product

beforeAll(async () => {
  product = await startProduct()
})

afterAll(async () => {
  await product?.stop()
})

function evaluate(...args: string[]) {
  const child = spawn(process.execPath, [program, '--max-tokens', '200', ...args], {
    env: { ...process.env, TRAMONTANE_HOME: product.home },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const said = { out: '', err: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said.out += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said.err += text
  })
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  return { child, said, ended }
}

const journal = (out: string) =>
  existsSync(join(out, 'journal.jsonl')) ? readFileSync(join(out, 'journal.jsonl'), 'utf8') : ''

describe('npm run eval', () => {
  it('[EVL56] an interrupted run keeps and prints its finished cases, and the next run asks only the remaining ones', async () => {
    const out = join(product.home, 'interrupted')
    const options = ['--task', 'sums,subject', '--count', '25', '--concurrency', '2', '--out', out]
    const first = evaluate(...options)
    await eventually(
      async () => journal(out).split('\n').length,
      (lines) => lines > 5,
      60_000,
    )
    first.child.kill('SIGINT')
    expect(await first.ended).toBe(130)
    const kept = journal(out)
    const before = readJournal(kept)
    expect(before.torn).toBe(0)
    expect(kept.endsWith('\n')).toBe(true)
    expect(before.entries.size).toBeGreaterThan(4)
    expect(before.entries.size).toBeLessThan(100)
    expect(first.said.out).toContain('not finished')
    expect(first.said.out).toMatch(/sums +none/)

    const second = evaluate(...options)
    expect(await second.ended).toBe(0)
    expect(second.said.err).toContain(`${before.entries.size} of 100 cases are already in`)
    const after = journal(out)
    expect(after.startsWith(kept)).toBe(true)
    expect(after.trim().split('\n').length).toBe(100)
    expect(readJournal(after).entries.size).toBe(100)
    expect(await eventually(product.counters, isZero)).toEqual(zero)

    const third = evaluate(...options)
    expect(await third.ended).toBe(0)
    expect(journal(out)).toBe(after)
  })

  it('[EVL57] the table, the plot and the journal agree with the ledger: tokens, cost and served effort', async () => {
    const out = join(product.home, 'counted')
    const spent = async () => (await product.admin<{ postedNano: number }>('GET', '/admin/tenants/demo')).postedNano
    const before = await spent()
    const run = evaluate('--task', 'sums,tools', '--effort', 'none,high', '--count', '3', '--out', out)
    expect(await run.ended).toBe(0)
    const { entries } = readJournal(journal(out))
    const all = [...entries.values()]
    expect(all.length).toBe(24)
    expect(all.map(({ effort, effortServed }) => effort === effortServed)).not.toContain(false)
    for (const { effort, tokens, firstTokenMs } of all) {
      expect(firstTokenMs).toBeGreaterThan(0)
      if (effort === 'none') expect(tokens?.reasoning).toBe(0)
      else if (tokens?.reasoning) expect(tokens.output).toBeGreaterThan(tokens.reasoning)
    }
    expect(await eventually(product.counters, isZero)).toEqual(zero)
    const posted = (await spent()) - before
    const costs = all.map(({ tokens }) => {
      const { prompt = 0, cached = 0, output = 0 } = tokens ?? {}
      return (prompt - (cached ?? 0)) * 150 + (cached ?? 0) * 15 + output * 600
    })
    expect(costs.reduce((sum, cost) => sum + cost, 0)).toBe(posted)
    expect(run.said.out).toContain(`$${(posted / 1e9).toPrecision(3)} in total`)
    expect(readFileSync(join(out, 'table.md'), 'utf8')).toMatch(/^\| task +\| effort/)
    expect(readFileSync(join(out, 'plot.svg'), 'utf8')).toMatch(/^<svg/)
  })

  it('[EVL58] a file with an unreadable line stops the run before it starts, or is read without that line with `--malformed skip`', async () => {
    const out = join(product.home, 'files')
    const options = ['--aime', sample('malformed'), '--effort', 'none', '--out', out]
    const strict = evaluate(...options)
    expect(await strict.ended).toBe(1)
    expect(strict.said.err).toContain('malformed.jsonl, line 3: the answer is "0.5"')
    expect(journal(out)).toBe('')
    const lenient = evaluate(...options, '--malformed', 'skip', '--long', sample('long'))
    expect(await lenient.ended).toBe(0)
    expect(lenient.said.err.match(/skipped: /g)?.length).toBe(3)
    expect(new Set([...readJournal(journal(out)).entries.values()].map(keyOf)).size).toBe(5)
  })

  it('[EVL59] a wrong key or an address without a server exits with code 1 and one sentence', async () => {
    const { baseUrl, model } = product.demo()
    const locked = evaluate('--url', baseUrl, '--key', 'nonsense', '--model', model, '--count', '1')
    expect(await locked.ended).toBe(1)
    expect(locked.said.err.trim()).toBe(`--key: ${baseUrl} rejects this key`)
    const nowhere = evaluate('--url', 'http://127.0.0.1:9/v1', '--model', model)
    expect(await nowhere.ended).toBe(1)
    expect(nowhere.said.err).toMatch(/^no server answers at http:\/\/127\.0\.0\.1:9\/v1: [^\n]+\n$/)
  })
})
