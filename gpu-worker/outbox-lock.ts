/**
 * One owner of a receipts folder. Two processes that share one would each take the other's running requests for those of
 * a process that died, and book them as failed.
 *
 * The lock is SQLite's own on a file of its own, held open: the kernel drops it when the process ends, however it ends,
 * and it holds across process namespaces. A file with a process id does neither. owner.json holds the id for the message.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

const sqliteBusy = 5

/** Where the receipts of one worker are. */
export function outboxFolder(home: string, workerId: string): string {
  return join(home, 'workers', workerId)
}

/** Answers how to let go of it. Throws one sentence where another process has it. */
export function lockFolder(folder: string): () => void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, 'lock.sqlite')
  const owner = join(folder, 'owner.json')
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(path)
    db.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE')
  } catch (cause) {
    db?.close()
    if (isBusy(cause)) throw new Error(inUse(folder, owner), { cause })
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new Error(
      `the receipts folder ${folder} cannot be locked (${reason}): make it writable, or move lock.sqlite away`,
      {
        cause,
      },
    )
  }
  const held = db
  try {
    writeFileSync(owner, JSON.stringify({ pid: process.pid }))
  } catch {
    // A full disk: the lock holds all the same, and only the message of a second process lacks the id.
  }
  return () => held.close()
}

function isBusy(cause: unknown): boolean {
  return cause instanceof Error && 'errcode' in cause && cause.errcode === sqliteBusy
}

function inUse(folder: string, owner: string): string {
  const pid = pidIn(owner)
  const who = pid === undefined ? '' : ` (pid ${pid})`
  return `the receipts folder ${folder} is in use by another worker process${who}: stop it, or set TRAMONTANE_HOME to another folder`
}

function pidIn(owner: string): number | undefined {
  try {
    const { pid } = JSON.parse(readFileSync(owner, 'utf8')) as { pid?: unknown }
    return typeof pid === 'number' ? pid : undefined
  } catch {
    return undefined
  }
}
