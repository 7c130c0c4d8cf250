/**
 * Lock of a receipts folder: one process owns it. Two processes that shared it would each mistake the other's running
 * requests for those of a dead process, and write failed receipts for them.
 *
 * The lock is an open SQLite transaction on a separate file. The kernel releases it when the process ends, however it
 * ends, and it works across process namespaces. A file with a process id does neither. owner.json holds the id for the
 * message.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

const sqliteBusy = 5

/** Folder of one worker's receipts. */
export function outboxFolder(home: string, workerId: string): string {
  return join(home, 'workers', workerId)
}

/** Returns the function that releases the lock. Throws one sentence if another process holds it. */
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
      `the receipts folder ${folder} cannot be locked (${reason}). Make it writable, or move lock.sqlite away`,
      {
        cause,
      },
    )
  }
  const held = db
  try {
    writeFileSync(owner, JSON.stringify({ pid: process.pid }))
  } catch {
    // On a full disk the lock still holds; only the message of a second process lacks the id.
  }
  return () => held.close()
}

function isBusy(cause: unknown): boolean {
  return cause instanceof Error && 'errcode' in cause && cause.errcode === sqliteBusy
}

function inUse(folder: string, owner: string): string {
  const pid = pidIn(owner)
  const suffix = pid === undefined ? '' : ` (pid ${pid})`
  return `the receipts folder ${folder} is in use by another worker process${suffix}. Stop it, or set TRAMONTANE_HOME to another folder`
}

function pidIn(owner: string): number | undefined {
  try {
    const { pid } = JSON.parse(readFileSync(owner, 'utf8')) as { pid?: unknown }
    return typeof pid === 'number' ? pid : undefined
  } catch {
    return undefined
  }
}
