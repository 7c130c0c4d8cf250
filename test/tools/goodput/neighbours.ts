/** How much of this machine other processes used (Linux only): real-time comparisons need a free machine. */
import { readFileSync } from 'node:fs'
import { cpus } from 'node:os'

/** Clock ticks as Linux counts them: hundredths of a second. */
interface Ticks {
  busy: number
  own: number
  all: number
}

export class Neighbours {
  readonly #pids: readonly number[]
  #before: Ticks | undefined

  /** @param pids other processes of this program */
  constructor(pids: readonly number[]) {
    this.#pids = [process.pid, ...pids]
    this.#before = this.#read()
  }

  /** The share of all cores that others used since the last call; undefined if the system does not report it. */
  share(): number | undefined {
    const before = this.#before
    const after = this.#read()
    this.#before = after
    if (!before || !after) return undefined
    const others = after.busy - before.busy - (after.own - before.own)
    return Math.max(0, others) / Math.max(1, after.all - before.all)
  }

  #read(): Ticks | undefined {
    if (process.platform !== 'linux') return undefined
    const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] =
      readFileSync('/proc/stat', 'utf8').split('\n')[0]?.trim().split(/\s+/).slice(1).map(Number) ?? []
    const busy = user + nice + system + irq + softirq + steal
    const own = this.#pids.reduce((sum, pid) => {
      // The fields after the name, which may contain spaces: user and system time are the twelfth and thirteenth.
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ').map(Number) ?? []
      return sum + (fields[11] ?? 0) + (fields[12] ?? 0)
    }, 0)
    return { busy, own, all: busy + idle + iowait }
  }
}

export function machine(): string {
  return `${cpus().length} cores (${cpus()[0]?.model.trim()})`
}
