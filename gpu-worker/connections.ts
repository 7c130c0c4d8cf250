/**
 * Tracks which connections have shown a valid token. Connections without one are limited in number: a new one closes
 * the oldest. So a client that holds many idle connections does not keep the edge out, which sends its token in
 * milliseconds.
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

/** The edge may open a connection for each slot at once, before it has shown a token on any of them. */
export function unprovenMax(slots: number): number {
  return 2 * slots + budgets.workerUnprovenConnections.value
}

/** Connections that a port accepts at once. */
export function connectionsMax(slots: number): number {
  return unprovenMax(slots) + 2 * slots + budgets.workerConnectionsExtra.value
}
