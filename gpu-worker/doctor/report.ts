/** Formats the doctor's output. Pure functions. */
import type { Attached, Described, Trait } from '../../backends/contract/backend.ts'
import type { CheckVerdict } from './checks.ts'

const words = {
  yes: 'holds',
  estimated: 'estimated',
  refused: 'not offered',
  no: 'DOES NOT HOLD',
  untested: 'not tested',
}

export function headLines(backend: Described, attached: Attached): string[] {
  const { version, model, contextTokens, slotsMax } = attached
  const facts = [
    `model ${model || 'not reported'}`,
    contextTokens === null ? 'context not reported' : `${contextTokens} tokens per request`,
    ...(slotsMax === null ? [] : [`${slotsMax} concurrent requests`]),
  ]
  return [
    `${backend.title}${version ? ` ${version}` : ''}: ${facts.join(', ')}`,
    ...attached.faults.map(({ kind, message }) => `${kind === 'broken' ? 'BROKEN' : 'note'}: ${message}`),
  ]
}

export function verdictLine(trait: Trait, { verdict, note }: CheckVerdict): string {
  return `  ${trait.padEnd(17)} ${words[verdict].padEnd(14)}${note ? ` ${note}` : ''}`.trimEnd()
}

/** Traits that depend on another trait, and are fixed with it. */
const withIt: Partial<Record<Trait, Trait>> = {
  'parallel-tools': 'tools',
  'forced-tool': 'tools',
  'thinking-replay': 'thinking',
  'usage-on-abort': 'usage',
}

/** Returns the known remedies for traits that fail, are estimated or are missing, each once. */
export function remedyLines(backend: Described, verdicts: ReadonlyMap<Trait, CheckVerdict>): string[] {
  const lines = [...verdicts].flatMap(([trait, { verdict }]) => {
    if (verdict === 'yes') return []
    const named = backend.remedies[trait] === undefined && verdict === 'no' ? withIt[trait] : trait
    const remedy = named && backend.remedies[named]
    return remedy === undefined ? [] : [`  ${named}: ${remedy}`]
  })
  return [...new Set(lines)]
}

/** Without these traits, billing would be wrong, so a worker must not use the backend. */
const needed: readonly Trait[] = [
  'usage',
  'usage-on-abort',
  'cancel',
  'effort-refused',
  'error-mid-stream',
  'connection-lost',
  'health',
]

export type Soundness = 'sound' | 'limited' | 'unsound'

/** Decides whether a worker can use the engine: fully, with limits, or not at all. */
export function soundness(attached: Attached, verdicts: ReadonlyMap<Trait, CheckVerdict>): Soundness {
  const failed = [...verdicts].filter(([, { verdict }]) => verdict === 'no').map(([trait]) => trait)
  if (attached.faults.some(({ kind }) => kind === 'broken') || failed.some((trait) => needed.includes(trait)))
    return 'unsound'
  return failed.length > 0 ? 'limited' : 'sound'
}

export const soundnessLine: Record<Soundness, string> = {
  sound: 'A worker can use this engine.',
  limited: 'A worker can use this engine, except for the features that do not hold.',
  unsound: 'A worker cannot use this engine as it is.',
}
