/** A backup of a running installation, its restore, and a start on the restored state. */
import { spawn } from 'node:child_process'
import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { eventually, startProduct, temporaryHome } from '../support/product.ts'

const [home, copies, fresh] = [temporaryHome(), temporaryHome(), temporaryHome()]
afterAll(() => {
  for (const folder of [home, copies, fresh]) rmSync(folder, { recursive: true, force: true })
})

function run(file: string, args: string[], state: string) {
  const path = fileURLToPath(new URL(`../../src/local/${file}.ts`, import.meta.url))
  const env = { ...process.env, TRAMONTANE_HOME: state }
  const child = spawn(process.execPath, [path, ...args], { env })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  return new Promise<{ status: number | null; stdout: string; stderr: string }>((resolve) =>
    child.once('close', (status) => resolve({ status, stdout, stderr })),
  )
}

const names = (folder: string) => readdirSync(folder, { recursive: true, encoding: 'utf8' })

describe('a backup', () => {
  it('[RUN20] a backup of a running installation is restored into an empty folder, where the same keys work and each ledger is sound', async () => {
    const backup = join(copies, 'b')
    const product = await startProduct({ home })
    const { apiKey, model } = product.demo()
    const ask = (of: typeof product) =>
      of
        .client(apiKey)
        .chat.completions.create({ model, messages: [{ role: 'user', content: 'Count.' }], max_tokens: 24 })
    try {
      for (let index = 0; index < 3; index++) await ask(product)
      // Requests run and settle while the files are copied.
      const busy = Promise.all(Array.from({ length: 24 }, () => ask(product)))
      for (let index = 0; index < 4; index++)
        expect(await run('backup', ['save', index === 0 ? backup : join(copies, `b${index}`)], home)).toMatchObject({
          status: 0,
        })
      await busy
    } finally {
      await product.stop()
    }
    expect(statSync(backup).mode & 0o77).toBe(0)
    expect(names(backup).filter((name) => /-(wal|shm)$|lock$/.test(name))).toEqual([])
    for (const folder of readdirSync(copies))
      expect(await run('verify', [join(copies, folder)], home), folder).toMatchObject({
        status: 0,
        stdout: expect.stringMatching(/^demo: \d+ entries, .*: sound\n$/),
      })

    expect(await run('backup', ['restore', backup], fresh)).toMatchObject({ status: 0 })
    expect(await run('backup', ['restore', backup], fresh)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('exists'),
    })
    const again = await startProduct({ home: fresh })
    try {
      expect(again.demo().apiKey).toBe(apiKey)
      expect((await ask(again)).choices).toHaveLength(1)
      // The opening credit, the three requests of before the backup, and the one of now.
      const entries = async () => (await again.tenant('demo')).totals.entries as number
      expect(await eventually(entries, (count) => count >= 5, 30_000)).toBeGreaterThanOrEqual(5)
    } finally {
      await again.stop()
    }
    expect(await run('verify', [fresh], home)).toMatchObject({ status: 0 })
  }, 240_000)

  it('[RUN21] a damaged backup, a used folder and a folder in use are refused, and nothing changes', async () => {
    const backup = join(copies, 'b')
    const state = readFileSync(join(home, 'state.json'), 'utf8')
    expect(await run('backup', ['restore', backup], home)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('exists'),
    })
    expect(await run('backup', ['save', backup], home)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('new folder'),
    })
    expect(await run('backup', ['restore', home], fresh)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('no backup'),
    })
    expect(await run('backup', ['save'], home)).toMatchObject({ status: 2, stderr: expect.stringContaining('usage') })
    expect(await run('backup', ['save', join(copies, 'n')], copies)).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('no state'),
    })
    appendFileSync(join(backup, 'state.json'), ' ')
    const empty = temporaryHome()
    expect(await run('backup', ['restore', backup], empty)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('was changed'),
    })
    expect(names(empty)).toEqual([])
    expect(existsSync(join(copies, 'n'))).toBe(false)
    expect(readFileSync(join(home, 'state.json'), 'utf8')).toBe(state)
    rmSync(empty, { recursive: true, force: true })
  })
})
