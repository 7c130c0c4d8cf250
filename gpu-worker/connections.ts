/**
 * Which connections have shown a valid token. The others are few, and the oldest of them is closed for the newest. A client that
 * holds many connections open and sends nothing shuts no other out: the edge proves itself within milliseconds.
 */
import type { Socket } from 'node:net'
import { budgets } from '../backends/model/budgets.ts'

export class Connections {
  readonly #unproven = new Set<Socket>()
  readonly #unprovenMax: number

  constructor(unprovenMax: number) {
    this.#unprovenMax = unprovenMax
  }

  opened(socket: Socket): void {
    this.#unproven.add(socket)
    socket.once('close', () => this.#unproven.delete(socket))
    const [oldest] = this.#unproven
    if (this.#unproven.size > this.#unprovenMax) oldest?.destroy()
  }

  proven(socket: Socket): void {
    this.#unproven.delete(socket)
  }
}

/** The edge may open a connection for each slot at the same moment, and has not shown a token on any of them then. */
export function unprovenMax(slots: number): number {
  return 2 * slots + budgets.workerUnprovenConnections.value
}

/** Connections that a port takes at once. */
export function connectionsMax(slots: number): number {
  return unprovenMax(slots) + 2 * slots + budgets.workerConnectionsExtra.value
}
