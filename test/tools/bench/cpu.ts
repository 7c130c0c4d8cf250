/** CPU time of one process with all its threads, in microseconds since its start; undefined without /proc. */
import { readdirSync, readFileSync } from 'node:fs'

/** Linux counts `utime` and `stime` in hundredths of a second on every machine. */
const tickMicro = 10_000

export function cpuMicro(pid: number): number | undefined {
  return scheduledMicro(pid) ?? tickedMicro(pid)
}

/** The scheduler's count, in nanoseconds per thread. Misses threads that have ended; workerd and Node keep theirs. */
function scheduledMicro(pid: number): number | undefined {
  try {
    const threads = readdirSync(`/proc/${pid}/task`)
    const ran = threads.map((id) => Number(readFileSync(`/proc/${pid}/task/${id}/schedstat`, 'utf8').split(' ')[0]))
    return ran.reduce((sum, nano) => sum + nano / 1_000, 0)
  } catch {
    return undefined
  }
}

function tickedMicro(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name in parentheses may contain spaces; the fields after it do not.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) * tickMicro
  } catch {
    return undefined
  }
}
