import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, describe, expect, it } from 'vitest'
import { copyDatabase, isDatabase } from '../../src/local/copy-database.ts'

const folder = mkdtempSync(join(tmpdir(), 'tramontane-copy-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Adds one row to each of two tables per commit, and checkpoints the log every few commits. */
const writer = `
  const { DatabaseSync } = require('node:sqlite')
  const db = new DatabaseSync(process.argv[1])
  db.exec('PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 8; PRAGMA synchronous = OFF')
  db.exec('CREATE TABLE a (n INTEGER PRIMARY KEY, pad TEXT); CREATE TABLE b (n INTEGER PRIMARY KEY, pad TEXT)')
  const pad = 'x'.repeat(3000)
  const write = () => {
    for (let index = 0; index < 20; index++) {
      db.exec('BEGIN')
      db.prepare('INSERT INTO a (pad) VALUES (?)').run(pad)
      db.prepare('INSERT INTO b (pad) VALUES (?)').run(pad)
      db.exec('COMMIT')
    }
    setTimeout(write, 40)
  }
  write()
  process.stdout.write('ready')
`

describe('a copy of a database', () => {
  it('[RUN22] a copy of a database that another process writes and checkpoints has every row up to one commit', async () => {
    const from = join(folder, 'live.sqlite')
    const child = spawn(process.execPath, ['-e', writer, from], { stdio: ['ignore', 'pipe', 'inherit'] })
    await once(child.stdout, 'data')
    const counts: number[] = []
    try {
      expect(isDatabase(from)).toBe(true)
      for (let index = 0; index < 25; index++) {
        const to = join(folder, `copy-${index}.sqlite`)
        copyDatabase(from, to)
        const db = new DatabaseSync(to, { readOnly: true })
        const of = (table: string) =>
          db.prepare(`SELECT count(*) AS n, coalesce(max(n), 0) AS last FROM ${table}`).get()
        const [a, b] = [of('a'), of('b')]
        db.close()
        expect(a).toEqual(b)
        expect(a?.n).toBe(a?.last)
        counts.push(Number(a?.n))
      }
    } finally {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    expect(counts).toEqual([...counts].sort((x, y) => x - y))
    expect(counts.at(-1)).toBeGreaterThan(counts[0] ?? 0)
  })
})
