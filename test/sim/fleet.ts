/** The fleet object's shell around the product's fleet: notifies waiting requests of their outcome. In memory only. */
import type { Heartbeat } from '../../backends/wire/heartbeat.ts'
import { lease, release, releaseOn, workerFailed } from '../../src/fleet/fleet.ts'
import { heartbeat, probeDue, probed, registry } from '../../src/fleet/registry.ts'
import {
  emptyFleet,
  type LeaseOutcome,
  type LeaseRequest,
  type Notification,
  type WorkerEndpoint,
} from '../../src/fleet/state.ts'
import { sweep } from '../../src/fleet/sweep.ts'
import { view } from '../../src/fleet/views.ts'
import { Clock, type Timeline } from './timeline.ts'

export class FleetHost {
  readonly clock: Clock
  #fleet = emptyFleet()
  #waiters = new Map<string, { resolve: (outcome: LeaseOutcome) => void; reject: (reason: Error) => void }>()

  constructor(timeline: Timeline) {
    this.clock = new Clock(timeline)
  }

  lease(ask: LeaseRequest): Promise<LeaseOutcome> {
    const outcome = lease(this.#fleet, ask, this.clock.now(), (notification) => this.#notify([notification]))
    if (outcome) return Promise.resolve(outcome)
    return new Promise((resolve, reject) => this.#waiters.set(ask.requestId, { resolve, reject }))
  }

  release(requestIds: string[]): void {
    for (const requestId of requestIds) this.#notify(release(this.#fleet, requestId, this.clock.now()))
  }

  releaseOn(workerId: string, requestId: string): void {
    this.#notify(releaseOn(this.#fleet, workerId, requestId, this.clock.now()))
  }

  workerFailed(workerId: string, requestId: string): void {
    this.#notify(workerFailed(this.#fleet, workerId, requestId, this.clock.now()))
  }

  heartbeat(beat: Heartbeat): void {
    const now = this.clock.now()
    this.#notify(heartbeat(this.#fleet, beat, 1, now))
    // A simulated worker that sends heartbeats is also reachable: the product's probe would succeed.
    const { workerId, instance } = beat
    if (probeDue(this.#fleet, workerId, now))
      this.#notify(probed(this.#fleet, { workerId, instance, fault: undefined }, now))
  }

  registry(): { present: WorkerEndpoint[]; missing: string[] } {
    this.sweep()
    return registry(this.#fleet)
  }

  sweep(): void {
    this.#notify(sweep(this.#fleet, this.clock.now()))
  }

  view() {
    return view(this.#fleet)
  }

  evict(): void {
    for (const { reject } of this.#waiters.values()) reject(new Error('the fleet was evicted'))
    this.#waiters = new Map()
    this.#fleet = emptyFleet()
  }

  #notify(notifications: Notification[]): void {
    for (const { requestId, outcome } of notifications) {
      this.#waiters.get(requestId)?.resolve(outcome)
      this.#waiters.delete(requestId)
    }
  }
}
