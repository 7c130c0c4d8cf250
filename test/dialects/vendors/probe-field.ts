/** Sends one field of a vendor's request type, with values of every kind, to the reader of a dialect. */
import type { Dialect } from '../../../src/dialects/dialect.ts'
import { noPreviousTurns } from '../../../src/dialects/dialect.ts'
import { segmentsOf } from './field-table.ts'

/**
 * `read`: a value changes the request or is refused by the field's name. `warned`: a value adds a warning that names the
 * field or an object around it. `silent`: no value has any effect.
 */
export type FieldVerdict = 'read' | 'warned' | 'silent'

/** A sample of each object, by the end of its path. It is valid, so that only the probed field can be at fault. */
export type Samples = Readonly<Record<string, Record<string, unknown>>>

const probes = [true, 7, 'x', { a: 1 }, ['x'], [{ a: 1 }]]

/** @param path such as `messages[]<user>.content[]<text>.text`; a list gets one item */
export function probeField(dialect: Dialect, samples: Samples, path: string): FieldVerdict {
  const body = (probe: unknown) => filled(samples, '', segmentsOf(path), probe)
  const { field } = body(undefined)
  const base = JSON.stringify(chatOf(dialect, body(undefined).value))
  const verdicts = probes.map((probe): FieldVerdict => {
    const read = dialect.read(body(probe).value, noPreviousTurns)
    if (!read.ok) return names(field, read.param ?? '') ? 'read' : 'silent'
    if (read.parsed.warnings.some((warning) => warns(field, path, warning))) return 'warned'
    return JSON.stringify(read.parsed.chat) === base ? 'silent' : 'read'
  })
  if (verdicts.includes('warned')) return 'warned'
  return verdicts.includes('read') ? 'read' : 'silent'
}

const chatOf = (dialect: Dialect, value: unknown) => {
  const read = dialect.read(value, noPreviousTurns)
  return read.ok ? read.parsed.chat : undefined
}

interface Filled {
  value: unknown
  /** The path of the field in the value. */
  field: string
}

/** An object with the field in it. A list keeps the items of its sample before the new one. */
function filled(samples: Samples, place: string, [segment, ...rest]: string[], probe: unknown): Filled {
  if (segment === undefined) return { value: probe, field: '' }
  const name = segment.replace(/(\[\])*(<.*)?$/, '')
  const inner = filled(samples, place === '' ? segment : `${place}.${segment}`, rest, probe)
  const sample = sampleOf(samples, place)
  const lists = segment.match(/\[\]/g)?.length ?? 0
  const before = lists > 0 && Array.isArray(sample[name]) ? sample[name] : []
  let { value } = inner
  for (let depth = 0; depth < lists; depth++) value = depth === lists - 1 ? [...before, value] : [value]
  const index = lists === 0 ? '' : `[${before.length}]${'[0]'.repeat(lists - 1)}`
  return {
    value: { ...sample, [name]: value },
    field: `${name}${index}${inner.field === '' ? '' : `.${inner.field}`}`,
  }
}

/** The sample whose name is the longest end of the path. */
function sampleOf(samples: Samples, place: string): Record<string, unknown> {
  const found = Object.keys(samples)
    .filter((name) => place === name || place.endsWith(`.${name}`))
    .sort((a, b) => b.length - a.length)[0]
  if (found !== undefined) return samples[found] ?? {}
  const kind = /<([^>|]*)[^>]*>$/.exec(place)?.[1]
  return kind === undefined ? {} : { type: kind }
}

/** Whether the named path is that of the field, of an object around it, or of a value in it. */
function names(field: string, named: string): boolean {
  // An object of a type that is not known is refused by its type.
  const kind = /^(.+)\.(type|role)$/.exec(named)?.[1]
  return (
    named !== '' && (isAround(named, field) || isAround(field, named) || (kind !== undefined && isAround(kind, field)))
  )
}

const isAround = (outer: string, inner: string) =>
  inner === outer || inner.startsWith(`${outer}.`) || inner.startsWith(`${outer}[`)

/** By its path, or by the list that an object of its type was removed from. */
function warns(field: string, path: string, warning: string): boolean {
  const named = warning.slice(0, warning.indexOf(':'))
  if (!/removed|left out/.test(warning)) return isAround(named, field)
  return path.startsWith(`${named}[]<`)
}
