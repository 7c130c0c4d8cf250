/** Lost workers: the decision, and its rows over restarts. */
import { describe, expect, it } from 'vitest'
import { heartbeatLostMs } from '../../backends/wire/heartbeat.ts'
import type { RaisedAlert } from '../../src/fleet/alert-sink.ts'
import { lostAfterMs, type Presence } from '../../src/fleet/presence.ts'
import { type PresenceStore, PresenceWatch } from '../../src/fleet/presence-watch.ts'

function openFleet() {
  const stored = new Map<string, Presence>()
  const rows: PresenceStore = {
    all: () => [...stored.values()],
    has: (workerId: string) => stored.has(workerId),
    put: (row: Presence) => void stored.set(row.workerId, row),
    remove: (workerId: string) => void stored.delete(workerId),
  }
  const clock = { now: 1_000_000 }
  const live = new Set<string>()
  const raised: string[] = []
  const alarms: number[] = []
  let failing = false
  const parts = {
    rows,
    live: () => live,
    sink: () => ({
      raise: async (alerts: RaisedAlert[]) => {
        if (failing) throw new Error('no answer')
        raised.push(...alerts.map(({ id }) => id))
      },
    }),
    setAlarm: (time: number) => void alarms.push(time),
    now: () => clock.now,
  }
  let watch = new PresenceWatch(parts)
  return {
    clock,
    live,
    raised,
    alarms,
    fail: (fails: boolean) => {
      failing = fails
    },
    beat(workerId: string, leaves = false) {
      if (leaves) live.delete(workerId)
      else live.add(workerId)
      watch.heard(workerId, leaves)
    },
    revoke: (workerId: string) => watch.removed(workerId),
    restart() {
      live.clear()
      watch = new PresenceWatch(parts)
    },
    async pass(ms: number) {
      clock.now += ms
      await watch.watch()
    },
  }
}

describe('lost workers', () => {
  it('[ALR9] a worker that is silent for half a minute is lost once and returns once, also over a restart', async () => {
    const fleet = openFleet()
    fleet.beat('gpu-1')
    fleet.beat('gpu-2')
    await fleet.pass(10_000)
    expect(fleet.alarms.at(-1)).toBe(fleet.clock.now + 10_000)
    fleet.live.delete('gpu-1')
    await fleet.pass(10_000)
    const missedAt = fleet.clock.now
    await fleet.pass(lostAfterMs - 1)
    expect(fleet.raised).toEqual([])
    fleet.restart()
    fleet.beat('gpu-2')
    // Until each live worker had time for a heartbeat, no worker is missed.
    await fleet.pass(heartbeatLostMs)
    expect(fleet.raised).toEqual([])
    fleet.fail(true)
    await fleet.pass(1)
    fleet.fail(false)
    await fleet.pass(10_000)
    await fleet.pass(10_000)
    expect(fleet.raised).toEqual([`evt_worker_gpu-1_${missedAt}_lost`])
    fleet.beat('gpu-1')
    await fleet.pass(10_000)
    await fleet.pass(10_000)
    expect(fleet.raised.slice(1)).toEqual([`evt_worker_gpu-1_${missedAt}_returned`])
  })

  it('[ALR9] a worker that signed off, whose key was revoked or that restarts soon is not lost', async () => {
    const fleet = openFleet()
    for (const workerId of ['left', 'revoked', 'restarted']) fleet.beat(workerId)
    await fleet.pass(10_000)
    fleet.beat('left', true)
    fleet.live.delete('revoked')
    fleet.revoke('revoked')
    fleet.live.delete('restarted')
    await fleet.pass(10_000)
    await fleet.pass(lostAfterMs - 1_000)
    fleet.beat('restarted')
    for (let passed = 0; passed < 9; passed++) await fleet.pass(10_000)
    expect(fleet.raised).toEqual([])
  })
})
