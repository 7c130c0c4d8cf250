/** A TCP relay that simulates a silent network failure: once frozen, it forwards nothing and closes nothing. */

import type { AddressInfo } from 'node:net'
import { connect, createServer, type Server, type Socket } from 'node:net'

export interface Wire {
  port: number
  /** Stops forwarding. Connections stay open, and new ones are accepted. */
  freeze(): void
  /** Closes all open connections, and forwards new ones. */
  thaw(): void
  close(): Promise<void>
}

export async function startWire(target: () => number): Promise<Wire> {
  const sockets = new Set<Socket>()
  let frozen = false
  const track = (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => undefined)
  }
  const server: Server = createServer((from) => {
    track(from)
    if (frozen) return void from.pause()
    const to = connect(target(), '127.0.0.1')
    track(to)
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      one.on('data', (bytes: Buffer) => {
        if (!frozen) other.write(bytes)
      })
      one.on('close', () => {
        if (!frozen) other.destroy()
      })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    freeze() {
      frozen = true
    },
    thaw() {
      frozen = false
      for (const socket of sockets) socket.destroy()
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
