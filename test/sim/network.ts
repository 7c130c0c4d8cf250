/**
 * The network between clients, isolates, objects, workers and the hosted API. Every message takes time. A call may be
 * lost before or after it was executed, or be executed twice. A connection may break, and both sides notice.
 */

import type { Faults } from './faults.ts'
import { Machine } from './machine.ts'
import type { FetchInit } from './platform.ts'
import type { Random } from './random.ts'
import type { Timeline } from './timeline.ts'
import type { WorkerProcess } from './worker.ts'

interface Connection {
  process: WorkerProcess | undefined
  /** The worker's side is gone. */
  lost: () => void
}

/** A late call and its answer take less. */
const lateCallMs = 5_000

export class Network {
  readonly #timeline: Timeline
  readonly #random: Random
  readonly #faults: Faults
  readonly #connections = new Set<Connection>()
  /** Messages that will still arrive long after they were sent. */
  later = 0

  constructor(timeline: Timeline, random: Random, faults: Faults) {
    this.#timeline = timeline
    this.#random = random
    this.#faults = faults
  }

  delayMs(): number {
    return this.#faults.befalls('delayed') ? this.#random.int(300, 15_000) : this.#random.int(1, 25)
  }

  /** Runs after a long time. The world does not end before. */
  muchLater(ms: number, what: string, work: () => void): void {
    this.later += 1
    this.#timeline.after(ms, what, () => {
      work()
      this.#timeline.after(lateCallMs, `${what}: over`, () => {
        this.later -= 1
      })
    })
  }

  /** A call from the current machine. `work` runs where it arrives. */
  call<Value>(what: string, work: () => Promise<Value>, repeatable = true): Promise<Value> {
    const from = Machine.current
    if (!from) throw new Error(`no machine calls ${what}`)
    return new Promise((resolve, reject) => {
      if (this.#faults.befalls('call lost')) {
        const lostMs = this.delayMs()
        from.after(lostMs, `${what} is lost`, () => reject(new Error('the call was lost')))
        // A call whose connection broke may arrive after its caller has given up.
        if (this.#random.chance(0.5)) {
          const ms = lostMs + this.#random.int(1, 400)
          this.#timeline.after(ms, `${what} arrives late`, () => void work().catch(() => undefined))
        }
        return
      }
      if (repeatable && this.#faults.befalls('call repeated'))
        this.#timeline.after(this.delayMs(), `${what} again`, () => void work().catch(() => undefined))
      const answer = (deliver: () => void) => {
        const lost = this.#faults.befalls('answer lost')
        from.after(this.delayMs(), `${what} is ${lost ? 'not ' : ''}answered`, () =>
          lost ? reject(new Error('the answer was lost')) : deliver(),
        )
      }
      this.#timeline.after(this.delayMs(), what, () => {
        work().then(
          (value) => answer(() => resolve(value)),
          (error) => answer(() => reject(error)),
        )
      })
    })
  }

  /** Every connection to this process breaks. */
  died(process: WorkerProcess): void {
    for (const connection of this.#connections) if (connection.process === process) connection.lost()
  }

  /** An HTTP call to a worker's port. `at` finds the process when the request arrives. */
  fetchWorker(at: () => WorkerProcess | undefined, url: URL, init: FetchInit): Promise<Response> {
    const from = Machine.current
    if (!from) throw new Error('no machine calls a worker')
    const { signal } = init
    const what = `${url.pathname} of ${url.host}`
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      let body: ReadableStreamDefaultController<Uint8Array> | undefined
      let over = false
      let disconnect: () => void = () => undefined
      // Messages on one connection keep their order.
      let lastAt = 0
      const toCaller = (event: string, deliver: () => void) => {
        lastAt = Math.max(lastAt, this.#timeline.now + this.delayMs())
        from.after(lastAt - this.#timeline.now, `${what} ${event}`, () => {
          if (!over) deliver()
        })
      }
      const end = (reason?: unknown) => {
        over = true
        this.#connections.delete(connection)
        if (reason === undefined) body?.close()
        else if (body) body.error(reason)
        else reject(reason)
      }
      const leave = () => {
        if (over) return
        over = true
        this.#connections.delete(connection)
        const { process } = connection
        if (process)
          this.#timeline.after(this.delayMs(), `${what} was left`, () => process.machine.run(() => disconnect()))
      }
      const connection: Connection = {
        process: undefined,
        lost: () => toCaller('is lost', () => end(new Error('the connection was lost'))),
      }
      this.#connections.add(connection)
      signal?.addEventListener(
        'abort',
        () => {
          if (over) return
          leave()
          if (body) body.error(signal.reason)
          else reject(signal.reason)
        },
        { once: true },
      )
      const arrives = () => {
        const process = at()
        if (!process?.up) return connection.lost()
        connection.process = process
        process.machine.run(() => {
          // A request whose sender has disconnected may arrive or not.
          if (over && this.#random.chance(0.5)) return
          disconnect = process.exchange([init.method, url.pathname, init.headers, init.body], {
            head: (status, headers) =>
              toCaller(`answers ${status}`, () => {
                const stream = new ReadableStream<Uint8Array>({
                  start: (controller) => {
                    body = controller
                  },
                  cancel: leave,
                })
                resolve(new Response(stream, { status, headers }))
              }),
            bytes: (bytes) => toCaller('sends', () => body?.enqueue(bytes)),
            end: () => toCaller('ends', () => end()),
            lost: connection.lost,
          })
          if (over) disconnect()
        })
      }
      this.#timeline.after(this.delayMs(), what, arrives)
      if (this.#faults.befalls('connection broken'))
        this.#timeline.after(this.#random.int(0, 1_200), `${what} breaks`, () => {
          if (over) return
          const { process } = connection
          from.run(() => end(new Error('the connection broke')))
          process?.machine.run(() => disconnect())
        })
    })
  }
}
