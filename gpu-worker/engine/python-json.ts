/**
 * JSON in the format of Python's `json.dumps(value, ensure_ascii=False)`: a space after every comma and colon. This
 * model family was trained on that format, and token counts and prefix cache hits depend on every space.
 */
import { lexemes, respelt } from '../../backends/model/json-text.ts'

export function dumps(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(dumps).join(', ')}]`
  if (value !== null && typeof value === 'object') {
    const members = Object.entries(value).flatMap(([key, each]) => (each === undefined ? [] : [member(key, each)]))
    return `{${members.join(', ')}}`
  }
  if (typeof value === 'number') return pythonNumber(JSON.stringify(value))
  return JSON.stringify(value) ?? 'null'
}

function member(key: string, value: unknown): string {
  return `${JSON.stringify(key)}: ${dumps(value)}`
}

/**
 * Rewrites JSON text as Python reads and prints it: with its spacing and its floats, and with all digits of whole
 * numbers. Text that is not JSON becomes one JSON string.
 */
export function respace(text: string): string {
  if (text === '') return '{}'
  try {
    JSON.parse(text)
  } catch {
    return JSON.stringify(text)
  }
  const parts: string[] = []
  // The keys so far of each open object; null for a list.
  const keys: (Set<string> | null)[] = []
  let isKey = false
  for (const lexeme of lexemes(text)) {
    const written = asWritten(lexeme)
    if (isKey && lexeme.startsWith('"')) {
      const known = keys.at(-1)
      if (known?.has(written)) return printed(treeOf(text))
      known?.add(written)
    }
    if (lexeme === '{' || lexeme === '[') keys.push(lexeme === '{' ? new Set() : null)
    else if (lexeme === '}' || lexeme === ']') keys.pop()
    isKey = (lexeme === '{' || lexeme === ',') && keys.at(-1) !== null
    parts.push(lexeme === ',' || lexeme === ':' ? `${lexeme} ` : written)
  }
  return parts.join('')
}

function asWritten(lexeme: string): string {
  return /^[-\d]/.test(lexeme) ? pythonNumber(lexeme) : respelt(lexeme)
}

/** Text that is repeated as it is, the members of an object, or the elements of a list. */
type Tree = string | Map<string, Tree> | Tree[]

/** Of members with one key, the last counts, at the place of the first. For text in which a key is repeated. */
function treeOf(text: string): Tree {
  const top: Tree[] = []
  const open: { holder: Map<string, Tree> | Tree[]; key: string | undefined }[] = [{ holder: top, key: undefined }]
  const place = (value: Tree) => {
    const last = open.at(-1)
    if (!last) return
    if (Array.isArray(last.holder)) last.holder.push(value)
    else if (last.key === undefined && typeof value === 'string') last.key = value
    else {
      last.holder.set(last.key ?? '', value)
      last.key = undefined
    }
  }
  for (const lexeme of lexemes(text)) {
    if (lexeme === '{' || lexeme === '[') {
      const holder = lexeme === '{' ? new Map<string, Tree>() : []
      place(holder)
      open.push({ holder, key: undefined })
    } else if (lexeme === '}' || lexeme === ']') open.pop()
    else if (lexeme !== ',' && lexeme !== ':') place(asWritten(lexeme))
  }
  return top[0] ?? ''
}

function printed(tree: Tree): string {
  if (typeof tree === 'string') return tree
  if (Array.isArray(tree)) return `[${tree.map(printed).join(', ')}]`
  return `{${[...tree].map(([key, value]) => `${key}: ${printed(value)}`).join(', ')}}`
}

/** A JSON number as Python prints it: a float if it has a fraction or an exponent. */
function pythonNumber(lexeme: string): string {
  if (/^-?\d+$/.test(lexeme)) return lexeme === '-0' ? '0' : lexeme
  const value = Number(lexeme)
  if (!Number.isFinite(value)) return value < 0 ? '-Infinity' : 'Infinity'
  if (value === 0) return lexeme.startsWith('-') ? '-0.0' : '0.0'
  const [digits = '', exponent = ''] = value.toExponential().split('e')
  const power = Number(exponent)
  if (power >= -4 && power < 16) {
    const plain = positional(digits.replace(/[-.]/g, ''), power)
    return value < 0 ? `-${plain}` : plain
  }
  return `${digits}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`
}

/** Digits of which the first has the value of 10 to the `power`. */
function positional(digits: string, power: number): string {
  if (power < 0) return `0.${'0'.repeat(-power - 1)}${digits}`
  const whole = digits.padEnd(power + 1, '0')
  return `${whole.slice(0, power + 1)}.${whole.slice(power + 1) || '0'}`
}
