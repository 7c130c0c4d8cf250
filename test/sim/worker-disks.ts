/** The folder of the simulated workers' disks: in memory if the host has such a file system, because opening costs. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const memory = '/dev/shm'

export async function withDisks<Result>(work: (root: string) => Promise<Result>): Promise<Result> {
  const root = mkdtempSync(join(existsSync(memory) ? memory : tmpdir(), 'tramontane-sim-'))
  try {
    return await work(root)
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}
