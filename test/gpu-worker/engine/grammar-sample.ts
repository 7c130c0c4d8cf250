/** Random texts of a GBNF grammar, for the grammars that the schema compiler writes. */

type Expression =
  | { kind: 'text'; text: string }
  | { kind: 'class'; ranges: [number, number][]; negative: boolean }
  | { kind: 'rule'; name: string }
  | { kind: 'choice'; options: Expression[][] }
  | { kind: 'repeat'; item: Expression; min: number; max: number }

/** Returns an integer from 0 up to its argument, exclusive. */
export type Random = (below: number) => number

/** @returns a function that makes one text; it becomes shorter with each character above `lengthMax` */
export function sampler(grammar: string, random: Random, lengthMax = 200): () => string {
  const rules = new Map(
    grammar.split('\n').map((line): [string, Expression[][]] => {
      const [, name = '', text = ''] = /^([a-zA-Z0-9-]+) ::= ?(.*)$/s.exec(line) ?? []
      return [name, new Parser(text).options()]
    }),
  )
  const costs = costsOf(rules)

  return () => {
    let text = ''
    const write = (expression: Expression): void => {
      switch (expression.kind) {
        case 'text':
          text += expression.text
          return
        case 'class':
          text += character(expression, random)
          return
        case 'rule':
          writeOne(rules.get(expression.name) ?? [])
          return
        case 'choice':
          writeOne(expression.options)
          return
        case 'repeat': {
          const { item, min, max } = expression
          const more = text.length > lengthMax ? 0 : random(Math.min(max - min, 3) + 1)
          for (let count = 0; count < min + more; count++) write(item)
        }
      }
    }
    const writeOne = (options: Expression[][]) => {
      const sorted = [...options].sort((a, b) => costs.of(a) - costs.of(b))
      const finite = sorted.filter((option) => costs.of(option) < Number.POSITIVE_INFINITY)
      const option = text.length > lengthMax ? finite[0] : finite[random(finite.length)]
      for (const each of option ?? []) write(each)
    }
    writeOne(rules.get('root') ?? [])
    return text
  }
}

/** The least number of steps to write each rule. */
function costsOf(rules: Map<string, Expression[][]>) {
  const least = new Map<string, number>()
  const costOf = (expression: Expression): number => {
    if (expression.kind === 'rule') return 1 + (least.get(expression.name) ?? Number.POSITIVE_INFINITY)
    if (expression.kind === 'choice') return Math.min(...expression.options.map(of))
    return expression.kind === 'repeat' ? (expression.min === 0 ? 0 : expression.min * costOf(expression.item)) : 1
  }
  const of = (option: Expression[]): number => option.reduce((sum, each) => sum + costOf(each), 0)
  for (let changed = true; changed; ) {
    changed = false
    for (const [name, options] of rules) {
      const cost = Math.min(...options.map(of))
      if (cost >= (least.get(name) ?? Number.POSITIVE_INFINITY)) continue
      least.set(name, cost)
      changed = true
    }
  }
  return { of }
}

/** Mostly letters and digits, so that texts look like those of clients; else any character. */
function character({ ranges, negative }: Expression & { kind: 'class' }, random: Random): string {
  const contains = (code: number) => ranges.some(([low, high]) => code >= low && code <= high) !== negative
  for (let tries = 0; tries < 20; tries++) {
    const code = random(8) > 0 ? 'abxyzAZ019 -_."\\'.charCodeAt(random(16)) : random(0x3000)
    if (contains(code)) return String.fromCodePoint(code)
  }
  const [low, high] = ranges[random(ranges.length)] ?? [97, 97]
  if (!negative) return String.fromCodePoint(low + random(high - low + 1))
  for (let code = 97; ; code++) if (contains(code)) return String.fromCodePoint(code)
}

class Parser {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  options(): Expression[][] {
    const options: Expression[][] = [[]]
    for (;;) {
      while (this.#text[this.#at] === ' ') this.#at++
      const next = this.#text[this.#at]
      if (next === undefined || next === ')') return options
      if (next === '|') {
        this.#at++
        options.push([])
      } else options.at(-1)?.push(this.#repeated(this.#item(next)))
    }
  }

  #item(next: string): Expression {
    if (next === '"') return { kind: 'text', text: this.#quoted() }
    if (next === '[') return this.#class()
    if (next !== '(') return { kind: 'rule', name: this.#match(/[a-zA-Z0-9-]+/y) }
    this.#at++
    const options = this.options()
    this.#at++
    return { kind: 'choice', options }
  }

  #repeated(item: Expression): Expression {
    const [, , low, range, high] = this.#take(/([?*+])|\{(\d+)(,(\d*))?\}/y) ?? []
    const sign = this.#text[this.#at - 1]
    if (low !== undefined)
      return { kind: 'repeat', item, min: Number(low), max: range ? (high ? Number(high) : 1e6) : Number(low) }
    if (sign === undefined || !this.#taken || !'?*+'.includes(sign)) return item
    return { kind: 'repeat', item, min: sign === '+' ? 1 : 0, max: sign === '?' ? 1 : 1e6 }
  }

  #taken = false
  #take(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)
    this.#taken = found !== null
    if (found) this.#at += found[0].length
    return found
  }

  #match(pattern: RegExp): string {
    const found = this.#take(pattern)
    if (!found) throw new Error(`unreadable grammar at ${this.#text.slice(this.#at, this.#at + 40)}`)
    return found[0]
  }

  #quoted(): string {
    this.#at++
    let text = ''
    while (this.#text[this.#at] !== '"') text += this.#character()
    this.#at++
    return text
  }

  #class(): Expression {
    this.#at++
    const negative = this.#text[this.#at] === '^'
    if (negative) this.#at++
    const ranges: [number, number][] = []
    while (this.#text[this.#at] !== ']') {
      const low = this.#character().codePointAt(0) ?? 0
      const isRange = this.#text[this.#at] === '-' && this.#text[this.#at + 1] !== ']'
      if (isRange) this.#at++
      ranges.push([low, isRange ? (this.#character().codePointAt(0) ?? 0) : low])
    }
    this.#at++
    return { kind: 'class', ranges, negative }
  }

  #character(): string {
    const escaped = this.#take(/\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))/sy)
    if (!escaped) {
      const plain = String.fromCodePoint(this.#text.codePointAt(this.#at) ?? 0)
      this.#at += plain.length
      return plain
    }
    const [, two, four, eight, letter = ''] = escaped
    const hex = two ?? four ?? eight
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16))
    return { n: '\n', r: '\r', t: '\t' }[letter] ?? letter
  }
}
