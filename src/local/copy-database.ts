/**
 * Copies an SQLite database that another process may be writing, with its write-ahead log.
 *
 * A copy is consistent if no checkpoint happened while it was made: a checkpoint changes the database file, and the next
 * write begins a log with another header. Frames that were appended meanwhile do no harm: SQLite reads the log up to the
 * last whole commit.
 */
import { closeSync, copyFileSync, existsSync, openSync, readSync, statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'

const triesMax = 100
const logHeaderBytes = 32

export function isDatabase(path: string): boolean {
  return firstBytes(path, 16).toString('latin1') === 'SQLite format 3\0'
}

/** Writes one file without a log. Throws if the database is damaged, or never rests long enough to be copied. */
export function copyDatabase(from: string, to: string): void {
  for (let attempt = 0; attempt < triesMax; attempt++) {
    const before = stamp(from)
    copyFileSync(from, to)
    if (existsSync(`${from}-wal`)) copyFileSync(`${from}-wal`, `${to}-wal`)
    if (stamp(from) !== before) continue
    mergeLog(to)
    return
  }
  throw new Error(`${from} was changed during each of ${triesMax} copies. Stop the product, and try again.`)
}

function stamp(path: string): string {
  const { mtimeNs, size } = statSync(path, { bigint: true })
  const log = existsSync(`${path}-wal`) ? firstBytes(`${path}-wal`, logHeaderBytes).toString('hex') : ''
  return `${mtimeNs}.${size}.${log}`
}

/** Moves the log into the database. Closing the only connection removes the log. */
function mergeLog(path: string): void {
  const db = new DatabaseSync(path)
  try {
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    const [check] = db.prepare('PRAGMA integrity_check(1)').all()
    if (check?.integrity_check !== 'ok') throw new Error(`${path} is damaged: ${String(check?.integrity_check)}`)
  } finally {
    db.close()
  }
}

function firstBytes(path: string, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  const file = openSync(path, 'r')
  try {
    return bytes.subarray(0, readSync(file, bytes, 0, length, 0))
  } finally {
    closeSync(file)
  }
}
