/**
 * Regular expressions with intersection and complement, read by their derivatives (Brzozowski 1964).
 *
 * The derivative of an expression by a character is the expression for what may follow that character. Equal
 * expressions are one object, so the derivatives of an expression are the states of its automaton.
 */
import { type CharSet, contains, every } from './char-set.ts'

export interface Term {
  readonly id: number
  readonly nullable: boolean
  readonly shape: Shape
  /** Code points at which the derivative may change. */
  bounds: readonly number[] | undefined
}

type Shape =
  | { kind: 'chars'; set: CharSet }
  | { kind: 'empty' }
  | { kind: 'sequence'; first: Term; rest: Term }
  | { kind: 'repeat'; item: Term; min: number; max: number }
  | { kind: 'or' | 'and'; terms: readonly Term[] }
  | { kind: 'not'; term: Term }

export class TermStore {
  readonly #known = new Map<string, Term>()
  /** By term and code point: the parts of a term occur in many others. */
  readonly #derivatives = new Map<Term, Map<number, Term>>()
  readonly #spend: (steps: number) => void
  /** Matches nothing; the empty text; one character; any text. */
  readonly none: Term
  readonly empty: Term
  readonly any: Term
  readonly all: Term

  /** @param spend charges the work, and throws if it exceeds the budget */
  constructor(spend: (steps: number) => void) {
    this.#spend = spend
    this.none = this.#term('none', { kind: 'chars', set: [] }, false)
    this.empty = this.#term('empty', { kind: 'empty' }, true)
    this.any = this.chars(every)
    this.all = this.repeat(this.any, 0, Number.POSITIVE_INFINITY)
  }

  chars(set: CharSet): Term {
    if (set.length === 0) return this.none
    return this.#term(`[${set.join()}`, { kind: 'chars', set }, false)
  }

  text(text: string): Term {
    const codes = [...text].map((each) => each.codePointAt(0) ?? 0)
    return codes.reduceRight((rest, code) => this.sequence(this.chars([[code, code]]), rest), this.empty)
  }

  sequence(first: Term, rest: Term): Term {
    if (first === this.none || rest === this.none) return this.none
    if (first === this.empty) return rest
    if (rest === this.empty) return first
    if (first.shape.kind === 'sequence') return this.sequence(first.shape.first, this.sequence(first.shape.rest, rest))
    if (first === this.all && rest === this.all) return rest
    return this.#term(`.${first.id},${rest.id}`, { kind: 'sequence', first, rest }, first.nullable && rest.nullable)
  }

  repeat(item: Term, min: number, max: number): Term {
    if (max === 0 || item === this.empty) return this.empty
    if (item === this.none) return min === 0 ? this.empty : this.none
    if (min === 1 && max === 1) return item
    const least = item.nullable ? 0 : min
    return this.#term(`{${item.id},${least},${max}`, { kind: 'repeat', item, min: least, max }, least === 0)
  }

  or(terms: readonly Term[]): Term {
    const parts = this.#parts('or', terms).filter((term) => term !== this.none)
    if (parts.includes(this.all)) return this.all
    return this.#many('or', parts, this.none, (list) => list.some(({ nullable }) => nullable))
  }

  and(terms: readonly Term[]): Term {
    const parts = this.#parts('and', terms).filter((term) => term !== this.all)
    if (parts.includes(this.none)) return this.none
    if (parts.includes(this.empty)) return parts.every(({ nullable }) => nullable) ? this.empty : this.none
    return this.#many('and', parts, this.all, (list) => list.every(({ nullable }) => nullable))
  }

  not(term: Term): Term {
    if (term === this.none) return this.all
    if (term === this.all) return this.none
    if (term.shape.kind === 'not') return term.shape.term
    return this.#term(`!${term.id}`, { kind: 'not', term }, !term.nullable)
  }

  /**
   * A simpler term that matches the same texts of at most `length` characters: a repetition that such a text cannot
   * exceed has no upper bound.
   */
  unboundedAbove(term: Term, length: number): Term {
    const known = new Map<Term, Term>()
    const simpler = (each: Term): Term => {
      const found = known.get(each) ?? rebuilt(each.shape, each)
      known.set(each, found)
      return found
    }
    const rebuilt = (shape: Shape, each: Term): Term => {
      this.#spend(1)
      if (shape.kind === 'sequence') return this.sequence(simpler(shape.first), simpler(shape.rest))
      if (shape.kind === 'not') return this.not(simpler(shape.term))
      if (shape.kind === 'or' || shape.kind === 'and') return this[shape.kind](shape.terms.map(simpler))
      if (shape.kind !== 'repeat') return each
      const max = shape.max >= length ? Number.POSITIVE_INFINITY : shape.max
      return this.repeat(simpler(shape.item), shape.min, max)
    }
    return simpler(term)
  }

  matches(term: Term, text: string): boolean {
    let state = term
    for (const character of text) state = this.derivative(state, character.codePointAt(0) ?? 0)
    return state.nullable
  }

  derivative(term: Term, code: number): Term {
    const known = this.#derivatives.get(term) ?? new Map<number, Term>()
    this.#derivatives.set(term, known)
    const found = known.get(code)
    this.#spend(found ? 1 / 8 : 1)
    if (found) return found
    const derived = this.#derived(term, code)
    known.set(code, derived)
    return derived
  }

  #derived(term: Term, code: number): Term {
    const { shape } = term
    switch (shape.kind) {
      case 'chars':
        return contains(shape.set, code) ? this.empty : this.none
      case 'empty':
        return this.none
      case 'sequence': {
        const taken = this.sequence(this.derivative(shape.first, code), shape.rest)
        return shape.first.nullable ? this.or([taken, this.derivative(shape.rest, code)]) : taken
      }
      case 'repeat': {
        const rest = this.repeat(shape.item, Math.max(0, shape.min - 1), shape.max - 1)
        return this.sequence(this.derivative(shape.item, code), rest)
      }
      case 'not':
        return this.not(this.derivative(shape.term, code))
      default:
        return this[shape.kind](shape.terms.map((each) => this.derivative(each, code)))
    }
  }

  /** The first code point of each range in which all derivatives are equal. The first is 0. */
  boundsOf(term: Term): readonly number[] {
    if (term.bounds) return term.bounds
    const { shape } = term
    const inner = (terms: readonly Term[]) => terms.flatMap((each) => [...this.boundsOf(each)])
    let found: number[] = [0, 0xd800, 0xe000]
    if (shape.kind === 'chars') for (const [low, high] of shape.set) found.push(low, high + 1)
    if (shape.kind === 'sequence') found = inner(shape.first.nullable ? [shape.first, shape.rest] : [shape.first])
    if (shape.kind === 'repeat') found = inner([shape.item])
    if (shape.kind === 'not') found = inner([shape.term])
    if (shape.kind === 'or' || shape.kind === 'and') found = inner(shape.terms)
    this.#spend(1 + found.length / 8)
    term.bounds = [...new Set(found)].sort((a, b) => a - b)
    return term.bounds
  }

  #parts(kind: 'or' | 'and', terms: readonly Term[]): Term[] {
    const flat = terms.flatMap((term) => (term.shape.kind === kind ? term.shape.terms : [term]))
    return [...new Set(flat)].sort((a, b) => a.id - b.id)
  }

  #many(kind: 'or' | 'and', terms: Term[], neutral: Term, isNullable: (terms: Term[]) => boolean): Term {
    const [only] = terms
    if (!only) return neutral
    if (terms.length === 1) return only
    return this.#term(`${kind}${terms.map(({ id }) => id).join()}`, { kind, terms }, isNullable(terms))
  }

  #term(key: string, shape: Shape, nullable: boolean): Term {
    const known = this.#known.get(key)
    if (known) return known
    this.#spend(1 + key.length / 32)
    const term: Term = { id: this.#known.size, nullable, shape, bounds: undefined }
    this.#known.set(key, term)
    return term
  }
}
