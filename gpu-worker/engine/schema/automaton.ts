/** Deterministic automata, built from any machine with comparable states, and written as grammar rules. */
import { type CharSet, every, union } from './char-set.ts'
import type { Term, TermStore } from './string-term.ts'

export interface Machine<State> {
  start: State
  /** Equal keys mean equal states. */
  key(state: State): string | number
  accepts(state: State): boolean
  /** The next states by range of code points. */
  edges(state: State): Iterable<readonly [low: number, high: number, next: State]>
}

interface AutomatonState {
  accepts: boolean
  /** The characters to each next state, by its index. */
  edges: Map<number, CharSet>
}

/** State 0 is the start. Every state leads to an accepting one. */
export type Automaton = readonly AutomatonState[]

/** @param spend charges each state. Returns undefined if nothing is accepted. */
export function automatonOf<State>(machine: Machine<State>, spend: () => void): Automaton | undefined {
  const indexes = new Map<string | number, number>()
  const states: AutomatonState[] = []
  const waiting: State[] = []
  const indexOf = (state: State) => {
    const known = indexes.get(machine.key(state))
    if (known !== undefined) return known
    spend()
    indexes.set(machine.key(state), states.length)
    states.push({ accepts: machine.accepts(state), edges: new Map() })
    waiting.push(state)
    return states.length - 1
  }
  indexOf(machine.start)
  for (let at = 0; at < waiting.length; at++) {
    const ranges = new Map<number, [number, number][]>()
    for (const [low, high, next] of machine.edges(waiting[at] as State)) {
      const index = indexOf(next)
      const list = ranges.get(index)
      if (list) list.push([low, high])
      else ranges.set(index, [[low, high]])
    }
    for (const [index, list] of ranges) states[at]?.edges.set(index, union(list))
  }
  return withoutDead(states)
}

export function termMachine(term: Term, terms: TermStore): Machine<Term> {
  return {
    start: term,
    key: ({ id }) => id,
    accepts: ({ nullable }) => nullable,
    *edges(state) {
      const bounds = terms.boundsOf(state)
      for (const [index, low] of bounds.entries()) {
        if (low > 0x10ffff || (low >= 0xd800 && low < 0xe000)) continue
        const next = terms.derivative(state, low)
        if (next !== terms.none) yield [low, (bounds[index + 1] ?? 0x110000) - 1, next]
      }
    },
  }
}

function withoutDead(states: AutomatonState[]): Automaton | undefined {
  const before = states.map((): number[] => [])
  for (const [index, { edges }] of states.entries()) for (const next of edges.keys()) before[next]?.push(index)
  const live = new Set<number>()
  const waiting = states.flatMap(({ accepts }, index) => (accepts ? [index] : []))
  for (let index = waiting.pop(); index !== undefined; index = waiting.pop()) {
    if (live.has(index)) continue
    live.add(index)
    waiting.push(...(before[index] ?? []))
  }
  if (!live.has(0)) return undefined
  const order = [...live].sort((a, b) => a - b)
  const renamed = new Map(order.map((index, at) => [index, at]))
  return order.map((index) => {
    const { accepts, edges } = states[index] as AutomatonState
    const kept = [...edges].flatMap(([next, set]): [number, CharSet][] => {
      const at = renamed.get(next)
      return at === undefined ? [] : [[at, set]]
    })
    return { accepts, edges: new Map(kept) }
  })
}

export interface RuleWriter {
  /** The name of a rule that `define` gets later. */
  name(): string
  define(name: string, text: string): void
  /** The expression for one character of the set. */
  character(set: CharSet): string
  /** The expression after the last character; may be empty. */
  end: string
}

/** Writes one rule for each state that is entered more than once or has a choice. Returns the start's name. */
export function writeAutomaton(automaton: Automaton, writer: RuleWriter): { rule: string; stacks: number } {
  const entries = automaton.map(() => 0)
  for (const { edges } of automaton) for (const next of edges.keys()) entries[next] = (entries[next] ?? 0) + 1
  const isInline = (index: number) => {
    const state = automaton[index]
    return index > 0 && entries[index] === 1 && state && state.edges.size + (state.accepts ? 1 : 0) === 1
  }
  const names = automaton.map((_, index) => (isInline(index) ? '' : writer.name()))
  let stacks = 1
  const alternatives = (index: number): string[] => {
    const state = automaton[index] as AutomatonState
    const steps = [...state.edges].map(([next, set]) => `${writer.character(set)}${after(next)}`)
    // The reader refuses a rule whose only alternative is empty.
    return state.accepts ? [writer.end || '""', ...steps] : steps
  }
  const after = (first: number): string => {
    let text = ''
    let index = first
    // A loop, because a chain of single steps may be long.
    for (;;) {
      if (!isInline(index)) return `${text} ${names[index]}`
      const state = automaton[index] as AutomatonState
      if (state.accepts) return writer.end === '' ? text : `${text} ${writer.end}`
      const [[next, set] = [0, every]] = [...state.edges]
      text += ` ${writer.character(set)}`
      index = next
    }
  }
  for (const [index, name] of names.entries()) {
    if (name === '') continue
    const list = alternatives(index)
    stacks = Math.max(stacks, list.length)
    writer.define(name, list.join(' | '))
  }
  return { rule: names[0] ?? '', stacks }
}
