/**
 * Refusals of workers, and checks of the gateway that all dialects share, name fields of Chat Completions. A client gets
 * the name of the same field in its own dialect.
 */

/** The paths of Chat Completions and of a dialect for the same field. A path with `[n]` stands for every index. */
export type FieldNames = readonly (readonly [chat: string, own: string])[]

/** A worker's warning, which begins with a field, with the field's name in the dialect. */
export function warningIn(dialect: NamesFields, warning: string): string {
  const param = /^[^\s:]+(?=: )/.exec(warning)?.[0] ?? null
  return inDialect(dialect, { message: warning, param }).message
}

interface NamesFields {
  fieldNames: FieldNames
}

/**
 * The path of a Chat Completions field in the client's body; unchanged if both have the same name.
 * @param messages the path of each message in the client's body
 */
export function fieldIn({ fieldNames }: NamesFields, field: string, messages?: readonly string[]): string {
  const message = /^messages\[(\d+)\]/.exec(field)
  const place = message && messages?.[Number(message[1])]
  if (place) return place
  const index = /\[(\d+)\]/.exec(field)?.[1]
  const filled = (path: string) => (index === undefined ? path : path.replace('[n]', `[${index}]`))
  for (const [chat, own] of fieldNames) {
    const known = filled(chat)
    if (field === known || field.startsWith(`${known}.`)) return filled(own) + field.slice(known.length)
  }
  return field
}

/** The refusal of a field, with the field's own name at the start of its message and as `param`. */
export function inDialect<Refused extends { message: string; param: string | null }>(
  dialect: NamesFields,
  { message, param }: Refused,
  messages?: readonly string[],
): { message: string; param: string | null } {
  if (param === null) return { message, param }
  const own = fieldIn(dialect, param, messages)
  const begins = own !== param && message.startsWith(`${param}:`)
  return { message: begins ? own + message.slice(param.length) : message, param: own }
}
