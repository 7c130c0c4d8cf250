/** Virtual time: events ordered by time and, at the same moment, by the order in which they were planned. */
export interface Planned {
  time: number
  serial: number
  what: string
  run: () => void
  /** A cancelled event is skipped without a step. */
  cancelled: boolean
}

export class Timeline {
  now: number
  readonly #heap: Planned[] = []
  #serial = 0

  constructor(now: number) {
    this.now = now
  }

  after(ms: number, what: string, run: () => void): Planned {
    const planned = { time: this.now + Math.max(0, ms), serial: this.#serial++, what, run, cancelled: false }
    const heap = this.#heap
    let index = heap.push(planned) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!before(planned, heap[parent])) break
      heap[index] = heap[parent] as Planned
      index = parent
    }
    heap[index] = planned
    return planned
  }

  /** Returns the next event and moves the time to it. */
  take(): Planned | undefined {
    for (;;) {
      const planned = this.#takeAny()
      if (planned?.cancelled) continue
      if (planned) this.now = planned.time
      return planned
    }
  }

  #takeAny(): Planned | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (!first || !last) return undefined
    if (heap.length > 0) sink(heap, last)
    return first
  }
}

/** A machine's clock: true time plus an offset. */
export class Clock {
  offsetMs = 0
  readonly #timeline: Timeline

  constructor(timeline: Timeline) {
    this.#timeline = timeline
  }

  now(): number {
    return this.#timeline.now + this.offsetMs
  }
}

function sink(heap: Planned[], planned: Planned): void {
  let index = 0
  for (;;) {
    const left = 2 * index + 1
    const right = left + 1
    const child = right < heap.length && before(heap[right] as Planned, heap[left]) ? right : left
    const next = heap[child]
    if (!next || !before(next, planned)) break
    heap[index] = next
    index = child
  }
  heap[index] = planned
}

function before(one: Planned, other: Planned | undefined): boolean {
  return other === undefined || one.time < other.time || (one.time === other.time && one.serial < other.serial)
}
