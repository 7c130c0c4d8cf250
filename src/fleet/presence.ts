/**
 * Which workers are present, so that operators learn of one that is lost. Rows change only when a worker comes, is
 * missed or leaves; they survive a restart of the fleet object, which forgets its workers.
 *
 *   (none) ── heartbeat ──▶ present ── silent for a while ──▶ lost ── heartbeat ──▶ present
 *                              └── signed off, or its key was revoked ──▶ (none)
 */
import type { RaisedAlert } from './alert-sink.ts'

export interface Presence {
  workerId: string
  /** When the worker was first missed; null while it sends heartbeats. Unix milliseconds. */
  missedAt: number | null
  /** Whether operators were alerted of its loss. */
  lost: boolean
}

/** A worker that restarts within this time is not lost. */
export const lostAfterMs = 30_000

export interface PresenceChange {
  /** The rows to store, after the alerts were raised. */
  put: Presence[]
  alerts: RaisedAlert[]
}

/** @param live ids of the workers that send heartbeats now */
export function presenceChange(rows: readonly Presence[], live: ReadonlySet<string>, now: number): PresenceChange {
  const change: PresenceChange = { put: [], alerts: [] }
  const known = new Map(rows.map((row) => [row.workerId, row]))
  for (const workerId of live) {
    const row = known.get(workerId)
    if (row && row.missedAt === null) continue
    change.put.push({ workerId, missedAt: null, lost: false })
    if (row?.lost) change.alerts.push(alertOf('returned', row, now))
  }
  for (const row of rows) {
    if (live.has(row.workerId) || row.lost) continue
    const missedAt = row.missedAt ?? now
    const lost = now - missedAt >= lostAfterMs
    if (lost || row.missedAt === null) change.put.push({ ...row, missedAt, lost })
    if (lost) change.alerts.push(alertOf('lost', { ...row, missedAt }, now))
  }
  return change
}

function alertOf(kind: 'lost' | 'returned', { workerId, missedAt }: Presence, now: number): RaisedAlert {
  return {
    id: `evt_worker_${workerId}_${missedAt}_${kind}`,
    type: `worker.${kind}`,
    at: now,
    data: { workerId, missedAt },
  }
}
