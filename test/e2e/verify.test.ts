import { spawnSync } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { eventually, isZero, startProduct, temporaryHome } from '../support/product.ts'

const home = temporaryHome()
afterAll(() => rmSync(home, { recursive: true, force: true }))

function verify(folder = home) {
  const path = fileURLToPath(new URL('../../src/local/verify.ts', import.meta.url))
  const { status, stdout, stderr } = spawnSync(process.execPath, [path, folder], { encoding: 'utf8' })
  return { status, stdout, stderr }
}

function tenantFile(): string {
  const folder = join(home, 'edge', 'do', 'tramontane-TenantObject')
  const file = readdirSync(folder).find((name) => name.endsWith('.sqlite') && name !== 'metadata.sqlite')
  if (!file) throw new Error('no tenant')
  return join(folder, file)
}

function tamper(statement: string): void {
  const db = new DatabaseSync(tenantFile())
  db.exec(statement)
  db.close()
}

describe('a state folder', () => {
  it('[BKS20] `npm run ledger:verify` checks every tenant’s ledger, during and after a run, and names each changed or missing entry', async () => {
    const product = await startProduct({ home })
    try {
      const client = product.client()
      const messages = [{ role: 'user' as const, content: 'Count to three.' }]
      for (let index = 0; index < 3; index++)
        await client.chat.completions.create({ model: product.demo().model, messages, max_tokens: 8 })
      expect(isZero(await eventually(() => product.counters(), isZero))).toBe(true)
      expect(verify()).toMatchObject({
        status: 0,
        stdout: expect.stringMatching(/^demo: 4 entries, credit .*: sound\n$/),
      })
    } finally {
      await product.stop()
    }
    expect(verify()).toMatchObject({ status: 0, stdout: expect.stringMatching(/^demo: 4 entries, .*: sound\n$/) })

    tamper('UPDATE entries SET output_tokens = output_tokens - 1 WHERE seq = 3')
    expect(verify()).toMatchObject({ status: 1, stdout: expect.stringContaining('entry 3 was changed') })
    tamper('UPDATE entries SET output_tokens = output_tokens + 1 WHERE seq = 3')
    expect(verify().status).toBe(0)
    tamper('DELETE FROM entries WHERE seq = 4')
    expect(verify()).toMatchObject({ status: 1, stdout: expect.stringContaining('the last entries are missing') })
  })

  it('[BKS21] `npm run ledger:verify` exits with code 2 and a message of its own for a state folder that does not exist or holds no tenant', () => {
    expect(verify(join(home, 'nowhere'))).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('state folder'),
    })
    expect(verify(join(home, 'workers'))).toMatchObject({ status: 2, stderr: expect.stringContaining('no tenant') })
  })
})
