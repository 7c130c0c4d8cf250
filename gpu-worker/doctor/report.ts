/** What the doctor says, line by line. Pure. */
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
    `model ${model || 'not told'}`,
    contextTokens === null ? 'context not told' : `${contextTokens} tokens a request`,
    ...(slotsMax === null ? [] : [`${slotsMax} at once`]),
  ]
  return [
    `${backend.title}${version ? ` ${version}` : ''}: ${facts.join(', ')}`,
    ...attached.faults.map(({ kind, message }) => `${kind === 'broken' ? 'BROKEN' : 'note'}: ${message}`),
  ]
}

export function verdictLine(trait: Trait, { verdict, note }: CheckVerdict): string {
  return `  ${trait.padEnd(17)} ${words[verdict].padEnd(14)}${note ? ` ${note}` : ''}`.trimEnd()
}

/** A trait that stands or falls with another is mended with it. */
const withIt: Partial<Record<Trait, Trait>> = {
  'parallel-tools': 'tools',
  'forced-tool': 'tools',
  'thinking-replay': 'thinking',
  'usage-on-abort': 'usage',
}

/** What to do about what does not hold, is estimated or is missing, where something can be done; each thing once. */
export function remedyLines(backend: Described, verdicts: ReadonlyMap<Trait, CheckVerdict>): string[] {
  const lines = [...verdicts].flatMap(([trait, { verdict }]) => {
    if (verdict === 'yes') return []
    const named = backend.remedies[trait] === undefined && verdict === 'no' ? withIt[trait] : trait
    const remedy = named && backend.remedies[named]
    return remedy === undefined ? [] : [`  ${named}: ${remedy}`]
  })
  return [...new Set(lines)]
}

/** Without these the books would be wrong: nothing is served from such a backend. */
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

/** Whether it can be served from: wholly, with what does not hold in mind, or not. */
export function soundness(attached: Attached, verdicts: ReadonlyMap<Trait, CheckVerdict>): Soundness {
  const failed = [...verdicts].filter(([, { verdict }]) => verdict === 'no').map(([trait]) => trait)
  if (attached.faults.some(({ kind }) => kind === 'broken') || failed.some((trait) => needed.includes(trait)))
    return 'unsound'
  return failed.length > 0 ? 'limited' : 'sound'
}

export const soundnessLine: Record<Soundness, string> = {
  sound: 'It can be served from.',
  limited: 'It can be served from, but for what does not hold.',
  unsound: 'It cannot be served from as it is.',
}
