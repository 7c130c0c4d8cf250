/**
 * Reads the regular expressions of `pattern` (ECMA-262 with Unicode). Look-behind, word boundaries, back references and
 * flags are refused. Lookahead becomes an intersection with the rest of the expression, so it is exact.
 */
import { type CharSet, chars, digit, inverse, lineEnd, property, space, union, word } from './char-set.ts'
import type { Term, TermStore } from './string-term.ts'

/** The reason why an expression cannot be read, as the end of a sentence. */
export class PatternRefused extends Error {}

type Node =
  | { kind: 'set'; set: CharSet }
  | { kind: 'start' | 'end' }
  | { kind: 'sequence' | 'choice'; nodes: Node[] }
  | { kind: 'repeat'; node: Node; min: number; max: number }
  | { kind: 'ahead'; node: Node; negative: boolean }

const groupsMax = 100
/** Repetitions of a part with an assertion inside are written out. */
const writtenMax = 8

/** The texts in which the expression matches somewhere. */
export function patternTerm(source: string, terms: TermStore): Term {
  const node = new Reader(source).read()
  const at = (start: boolean) => build(node, terms.all, start, terms)
  const later = terms.sequence(terms.repeat(terms.any, 1, Number.POSITIVE_INFINITY), at(false))
  return terms.or([at(true), later])
}

/** The texts that `node` and then `rest` match. `start`: nothing was read before it. */
function build(node: Node, rest: Term, start: boolean, terms: TermStore): Term {
  switch (node.kind) {
    case 'set':
      return terms.sequence(terms.chars(node.set), rest)
    case 'start':
      return start ? rest : terms.none
    case 'end':
      return terms.and([rest, terms.empty])
    case 'choice':
      return terms.or(node.nodes.map((each) => build(each, rest, start, terms)))
    case 'sequence': {
      const consumed = node.nodes.findIndex((each) => !isAssertion(each))
      return node.nodes.reduceRight(
        (after, each, index) => build(each, after, start && (consumed < 0 || index <= consumed), terms),
        rest,
      )
    }
    case 'repeat':
      return repeated(node, rest, start, terms)
    case 'ahead': {
      const ahead = build(node.node, terms.all, start, terms)
      return terms.and([node.negative ? terms.not(ahead) : ahead, rest])
    }
  }
}

function repeated(node: Node & { kind: 'repeat' }, rest: Term, start: boolean, terms: TermStore): Term {
  const { node: item, min, max } = node
  if (!hasAssertion(item)) return terms.sequence(terms.repeat(build(item, terms.empty, false, terms), min, max), rest)
  if (max > writtenMax) throw new PatternRefused('it repeats an assertion. Move the assertion out of the repetition')
  let result = rest
  for (let count = max; count > 0; count--) {
    const once = build(item, result, start && count === 1, terms)
    result = count > min ? terms.or([once, rest]) : once
  }
  return result
}

function isAssertion(node: Node): boolean {
  if (node.kind === 'sequence' || node.kind === 'choice') return node.nodes.every(isAssertion)
  return node.kind === 'start' || node.kind === 'end' || node.kind === 'ahead'
}

function hasAssertion(node: Node): boolean {
  if (node.kind === 'sequence' || node.kind === 'choice') return node.nodes.some(hasAssertion)
  return node.kind === 'repeat' ? hasAssertion(node.node) : node.kind !== 'set'
}

const simple: Record<string, string> = { t: '\t', n: '\n', r: '\r', f: '\f', v: '\v', 0: '\0' }
const classes: Record<string, CharSet> = { d: digit, w: word, s: space }

class Reader {
  readonly #source: readonly string[]
  #at = 0
  #groups = 0

  constructor(source: string) {
    this.#source = [...source]
  }

  read(): Node {
    const node = this.#choice()
    if (this.#at < this.#source.length) throw new PatternRefused('it has a ")" without "("')
    return node
  }

  #next(): string {
    const character = this.#source[this.#at++]
    if (character === undefined) throw new PatternRefused('it ends too early')
    return character
  }

  #take(text: string): boolean {
    if (this.#source.slice(this.#at, this.#at + text.length).join('') !== text) return false
    this.#at += text.length
    return true
  }

  #choice(): Node {
    const nodes = [this.#sequence()]
    while (this.#take('|')) nodes.push(this.#sequence())
    return nodes.length === 1 && nodes[0] ? nodes[0] : { kind: 'choice', nodes }
  }

  #sequence(): Node {
    const nodes: Node[] = []
    for (let next = this.#source[this.#at]; next !== undefined && next !== '|' && next !== ')'; ) {
      nodes.push(this.#quantified(this.#atom()))
      next = this.#source[this.#at]
    }
    return { kind: 'sequence', nodes }
  }

  #quantified(node: Node): Node {
    const bounds = this.#quantifier()
    if (!bounds) return node
    const [min, max] = bounds
    this.#take('?')
    if (min > max) throw new PatternRefused('it has a repetition whose lower bound exceeds its upper bound')
    return { kind: 'repeat', node, min, max }
  }

  #quantifier(): [number, number] | undefined {
    if (this.#take('*')) return [0, Number.POSITIVE_INFINITY]
    if (this.#take('+')) return [1, Number.POSITIVE_INFINITY]
    if (this.#take('?')) return [0, 1]
    const text = /^\{(\d{1,7})(,(\d{0,7}))?\}/.exec(this.#source.slice(this.#at, this.#at + 20).join(''))
    if (!text) return undefined
    this.#at += text[0].length
    const min = Number(text[1])
    return [min, text[2] === undefined ? min : text[3] ? Number(text[3]) : Number.POSITIVE_INFINITY]
  }

  #atom(): Node {
    const character = this.#next()
    switch (character) {
      case '^':
        return { kind: 'start' }
      case '$':
        return { kind: 'end' }
      case '.':
        return { kind: 'set', set: inverse(lineEnd) }
      case '(':
        return this.#group()
      case '[':
        return { kind: 'set', set: this.#class() }
      case '\\':
        return { kind: 'set', set: this.#escape(false) }
      case '*':
      case '+':
      case '?':
        throw new PatternRefused(`it has nothing before "${character}"`)
      default:
        return { kind: 'set', set: chars(character) }
    }
  }

  #group(): Node {
    if (++this.#groups > groupsMax) throw new PatternRefused(`it has more than ${groupsMax} groups`)
    const negative = this.#take('?!')
    const ahead = negative || this.#take('?=')
    if (!ahead && !this.#take('?:') && this.#take('?')) this.#groupName()
    const node = this.#choice()
    if (!this.#take(')')) throw new PatternRefused('it has a "(" without ")"')
    return ahead ? { kind: 'ahead', node, negative } : node
  }

  #groupName(): void {
    if (!this.#take('<')) throw new PatternRefused('flags inside it are not supported. Write both cases as a class')
    if (this.#take('=') || this.#take('!')) throw new PatternRefused('look-behind is not supported. Use lookahead')
    while (this.#next() !== '>');
  }

  #class(): CharSet {
    const negative = this.#take('^')
    const sets: CharSet[] = []
    while (!this.#take(']')) {
      const low = this.#member()
      if (this.#source[this.#at] !== '-' || this.#source[this.#at + 1] === ']') sets.push(low)
      else {
        this.#at++
        const high = this.#member()
        sets.push(isOne(low) && isOne(high) ? range(low, high) : union(low, chars('-'), high))
      }
    }
    return negative ? inverse(union(...sets)) : union(...sets)
  }

  #member(): CharSet {
    const character = this.#next()
    return character === '\\' ? this.#escape(true) : chars(character)
  }

  #escape(inClass: boolean): CharSet {
    const character = this.#next()
    const lower = character.toLowerCase()
    const known = classes[lower]
    if (known) return lower === character ? known : inverse(known)
    if (lower === 'p') return this.#property(character === 'P')
    if (character === 'x') return this.#code(2)
    if (character === 'u') return this.#unicode()
    if (character === 'b' && inClass) return chars('\b')
    if (character === 'c') return chars(String.fromCharCode(this.#next().charCodeAt(0) % 32))
    const plain = simple[character]
    if (plain !== undefined) return chars(plain)
    if (/[1-9k]/.test(character)) throw new PatternRefused('back references are not supported. Repeat the group')
    if (/[a-zA-Z]/.test(character)) throw new PatternRefused(`"\\${character}" is not supported. Use ^, $ and classes`)
    return chars(character)
  }

  #property(negative: boolean): CharSet {
    let name = ''
    if (this.#take('{')) for (let next = this.#next(); next !== '}'; next = this.#next()) name += next
    const set = property(name)
    if (!set) throw new PatternRefused(`"\\p{${name.slice(0, 40)}}" is not a Unicode property`)
    return negative ? inverse(set) : set
  }

  #unicode(): CharSet {
    if (!this.#take('{')) {
      const [low] = this.#code(4)
      if (low && low[0] >= 0xd800 && low[0] <= 0xdbff && this.#take('\\u')) {
        const [high] = this.#code(4)
        const code = 0x10000 + (low[0] - 0xd800) * 0x400 + ((high?.[0] ?? 0) - 0xdc00)
        return [[code, code]]
      }
      return low ? [low] : []
    }
    let hex = ''
    for (let next = this.#next(); next !== '}'; next = this.#next()) hex += next
    return this.#point(hex)
  }

  #code(digits: number): CharSet {
    let hex = ''
    while (hex.length < digits) hex += this.#next()
    return this.#point(hex)
  }

  #point(hex: string): CharSet {
    const code = /^[0-9a-fA-F]{1,6}$/.test(hex) ? Number.parseInt(hex, 16) : Number.NaN
    if (!(code <= 0x10ffff)) throw new PatternRefused('it has an escape without a code point')
    return [[code, code]]
  }
}

function isOne(set: CharSet): boolean {
  return set.length === 1 && set[0]?.[0] === set[0]?.[1]
}

function range(low: CharSet, high: CharSet): CharSet {
  const [from, to] = [low[0]?.[0] ?? 0, high[0]?.[0] ?? 0]
  if (from > to) throw new PatternRefused('it has a class whose range is reversed')
  return [[from, to]]
}
