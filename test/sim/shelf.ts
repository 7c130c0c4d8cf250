/** A pool of outboxes on a real disk, reused between worlds: opening one costs more than running a small world. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Outbox } from '../../gpu-worker/outbox.ts'
import type { Worker } from './worker.ts'

export class Shelf {
  readonly #root = mkdtempSync(join(tmpdir(), 'tramontane-sim-'))
  readonly #free: { folder: string; outbox: Outbox }[] = []
  #serial = 0

  take(): { folder: string; outbox: Outbox } {
    const free = this.#free.pop()
    if (free) return free
    const folder = join(this.#root, String(this.#serial++))
    return { folder, outbox: new Outbox(folder) }
  }

  /** Returns an outbox to the pool if it is empty; closes it otherwise. */
  put(worker: Worker): void {
    const { outbox, folder, kept } = worker
    if (worker.state === 'down') return
    outbox.dismiss([...kept])
    const { running, owed, refused } = outbox.counts()
    if (running + owed + refused === 0) this.#free.push({ folder, outbox })
    else outbox.close()
  }

  close(): void {
    for (const { outbox } of this.#free) outbox.close()
    rmSync(this.#root, { recursive: true, force: true })
  }
}
