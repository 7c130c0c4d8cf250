/** The product's outbox on a real disk; its worker's process is known, so that a kill can drop the lock. */
import { Outbox as ProductOutbox } from '../../../gpu-worker/outbox.ts'
import { Machine } from '../machine.ts'
import type { WorkerProcess } from '../worker.ts'

export const processes = new WeakMap<Machine, WorkerProcess>()

export class Outbox extends ProductOutbox {
  readonly #process: WorkerProcess | undefined

  constructor(folder: string, log?: (line: string) => void) {
    super(folder, log)
    this.#process = Machine.current && processes.get(Machine.current)
    this.#process?.opened(this)
  }

  override begin(...args: Parameters<ProductOutbox['begin']>): void {
    super.begin(...args)
    this.#process?.began(args[0], args[1])
  }

  override forget(dispatchId: string): void {
    super.forget(dispatchId)
    this.#process?.forgot(dispatchId)
  }

  override finish(...args: Parameters<ProductOutbox['finish']>): void {
    super.finish(...args)
    this.#process?.finished(args[0])
  }
}
