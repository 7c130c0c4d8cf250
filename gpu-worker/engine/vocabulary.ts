/**
 * Token ids and their bytes.
 *
 * The bytes come from the token list of the model file, not from the library's text output: a token may be a partial
 * character, which text output would replace. Control tokens are looked up by name, so that any vocabulary of this
 * family works.
 */

export const controlNames = [
  '<s>',
  '</s>',
  '[INST]',
  '[/INST]',
  '[AVAILABLE_TOOLS]',
  '[/AVAILABLE_TOOLS]',
  '[TOOL_RESULTS]',
  '[/TOOL_RESULTS]',
  '[TOOL_CALLS]',
  '[ARGS]',
  '[SYSTEM_PROMPT]',
  '[/SYSTEM_PROMPT]',
  '[THINK]',
  '[/THINK]',
  '[MODEL_SETTINGS]',
  '[/MODEL_SETTINGS]',
] as const
export type ControlName = (typeof controlNames)[number]

export interface Vocabulary {
  control: Readonly<Record<ControlName, number>>
  /** All ids without text. */
  controlIds: readonly number[]
  /** The text bytes of a token; empty for control tokens and unknown ids. */
  bytes(token: number): Uint8Array
}

/** Values of `tokenizer.ggml.token_type` for text: normal, user-defined, single byte. */
const textTypes = new Set([1, 4, 6])
const noBytes = new Uint8Array(0)

/**
 * @param tokens the token list of the model file, in the byte-level alphabet
 * @param types one number per token
 * @throws an Error that names the missing control token
 */
export function createVocabulary(tokens: readonly string[], types: readonly number[]): Vocabulary {
  const controlIds = tokens.flatMap((_, id) => (textTypes.has(types[id] ?? 1) ? [] : [id]))
  const byName = new Map(controlIds.map((id) => [tokens[id], id]))
  const named = controlNames.map((name) => {
    const id = byName.get(name)
    if (id === undefined) throw new Error(`its vocabulary has no control token ${name}`)
    return [name, id] as const
  })
  const isControl = new Set(controlIds)
  const cache = new Map<number, Uint8Array>()
  return {
    control: Object.fromEntries(named) as Record<ControlName, number>,
    controlIds,
    bytes(token) {
      const known = cache.get(token)
      if (known) return known
      const bytes = isControl.has(token) ? noBytes : bytesOf(tokens[token] ?? '')
      cache.set(token, bytes)
      return bytes
    },
  }
}

/**
 * The byte-level alphabet: a printable character for every byte. Printable Latin-1 bytes map to themselves, the other
 * 68 bytes to U+0100 and following, in order.
 */
const byteOf = new Map<string, number>()
for (let byte = 0, others = 0; byte < 256; byte++) {
  const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
  byteOf.set(String.fromCodePoint(printable ? byte : 256 + others++), byte)
}

/** The bytes of a token that is written in the byte-level alphabet. */
export function bytesOf(token: string): Uint8Array {
  const encoder = new TextEncoder()
  const bytes: number[] = []
  for (const character of token) {
    const byte = byteOf.get(character)
    if (byte !== undefined) bytes.push(byte)
    else bytes.push(...encoder.encode(character))
  }
  return Uint8Array.from(bytes)
}
