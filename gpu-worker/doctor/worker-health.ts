/** The state of a worker, for an operator who gives the doctor the address of a worker and not of its engine. */
import { z } from 'zod'
import { cleanText } from '../../backends/model/clean-text.ts'
import { type Transport, textOf } from './subject.ts'

const WorkerHealth = z.object({
  status: z.string(),
  reason: z.string().optional(),
  protocol: z.int(),
})

/** Reads `/healthz` of a worker's operator port; undefined if it is no worker, or needs a key. */
export async function workerAt(
  open: Transport,
  signal: AbortSignal,
): Promise<{ ready: boolean; line: string } | undefined> {
  try {
    const { body } = await open({ method: 'GET', path: '/healthz' }, signal)
    const { status, reason, protocol } = WorkerHealth.parse(JSON.parse(await textOf(body)))
    const why = reason === undefined ? '' : `. ${cleanText(reason, 300)}`
    return {
      ready: status === 'ready',
      line: `a worker of protocol version ${protocol}: ${cleanText(status, 40)}${why}`,
    }
  } catch {
    return undefined
  }
}
