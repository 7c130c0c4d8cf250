/**
 * Assigns the results of tools to the calls of a history.
 *
 * A result belongs to the latest turn before it that has a call with its id: there to the first call without a result,
 * otherwise to the last call with that id, as a further result. A result without an id belongs to the latest turn's next
 * call without one. A result before its call belongs to the first call with its id. Linear in the history.
 */
import type { Message } from './chat.ts'

/** The results of one call, as indexes of messages. */
export interface CallSlot {
  results: number[]
}

export interface ToolResults {
  /** By index of an assistant message: a slot for each of its calls. */
  slots: ReadonlyMap<number, readonly CallSlot[]>
  /** Indexes of results without a call. */
  orphans: ReadonlySet<number>
}

export function toolResults(messages: readonly Message[]): ToolResults {
  const slots = new Map<number, CallSlot[]>()
  const calls = new LatestCalls()
  const unmatched: number[] = []
  for (const [index, message] of messages.entries()) {
    if (message.role === 'tool') {
      const slot = calls.slotFor(message.toolCallId)
      if (slot) slot.results.push(index)
      else unmatched.push(index)
    } else if (message.role === 'assistant') {
      // Clients write parallel calls as one message each, too: neighbours are one turn.
      if (messages[index - 1]?.role !== 'assistant') calls.beginTurn()
      slots.set(
        index,
        message.toolCalls.map(({ id }) => calls.add(id)),
      )
    }
  }
  return { slots, orphans: placedEarly(messages, unmatched, slots) }
}

/** Assigns results that precede their call. Returns the others. */
function placedEarly(
  messages: readonly Message[],
  unmatched: readonly number[],
  slots: ReadonlyMap<number, readonly CallSlot[]>,
): Set<number> {
  const orphans = new Set(unmatched)
  if (unmatched.length === 0) return orphans
  const open = new Map<string, CallSlot[]>()
  for (const [index, calls] of slots) {
    const message = messages[index]
    if (message?.role !== 'assistant') continue
    for (const [at, { id }] of message.toolCalls.entries()) {
      const slot = calls[at]
      if (!slot || slot.results.length > 0) continue
      const same = open.get(id)
      if (same) same.push(slot)
      else open.set(id, [slot])
    }
  }
  for (const list of open.values()) list.reverse()
  for (const index of unmatched) {
    const message = messages[index]
    const slot = message?.role === 'tool' && message.toolCallId !== '' && open.get(message.toolCallId)?.pop()
    if (!slot) continue
    slot.results.push(index)
    orphans.delete(index)
  }
  return orphans
}

/** Calls in order, of which those before `next` have results. */
interface CallQueue {
  turn: number
  calls: CallSlot[]
  next: number
}

/** The calls of the latest turn, and for each id those of the latest turn that has it. */
class LatestCalls {
  #turn = 0
  #all: CallQueue = { turn: 0, calls: [], next: 0 }
  readonly #byId = new Map<string, CallQueue>()

  beginTurn(): void {
    this.#turn++
  }

  add(id: string): CallSlot {
    const slot: CallSlot = { results: [] }
    if (this.#all.turn !== this.#turn) this.#all = this.#newQueue()
    this.#all.calls.push(slot)
    let queue = this.#byId.get(id)
    if (queue?.turn !== this.#turn) {
      queue = this.#newQueue()
      this.#byId.set(id, queue)
    }
    queue.calls.push(slot)
    return slot
  }

  slotFor(id: string): CallSlot | undefined {
    const queue = this.#byId.get(id)
    if (queue) return nextOpen(queue) ?? queue.calls.at(-1)
    return id === '' ? nextOpen(this.#all) : undefined
  }

  #newQueue(): CallQueue {
    return { turn: this.#turn, calls: [], next: 0 }
  }
}

function nextOpen(queue: CallQueue): CallSlot | undefined {
  while ((queue.calls[queue.next]?.results.length ?? 0) > 0) queue.next++
  return queue.calls[queue.next]
}
