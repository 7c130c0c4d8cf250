/** The values of `format` that are enforced, as regular expressions. Other values are annotations, as in the standard. */
const octet = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)'
const ipv4 = `(?:${octet}\\.){3}${octet}`
const hex = '[0-9a-fA-F]{1,4}'
const ipv6 = [
  `(?:${hex}:){7}${hex}`,
  `(?:${hex}:){1,7}:`,
  ...[1, 2, 3, 4, 5, 6].map((after) => `(?:${hex}:){1,${7 - after}}(?::${hex}){1,${after}}`),
  `:(?::${hex}){1,7}`,
  '::',
].join('|')
const monthDay =
  '(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))'
const leapYear = '(?:\\d\\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)'
const date = `(?:\\d{4}-${monthDay}|${leapYear}-02-29)`
const time = '(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)'
const label = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?'
const labelWithin = (max: number) => `[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,${max - 2}}[a-zA-Z0-9])?`
const labelsWithin = (max: number, more: string) => `${labelWithin(max)}(?:\\.${labelWithin(max)})${more}`
const days = '(?:\\d+Y(?:\\d+M(?:\\d+D)?)?|\\d+M(?:\\d+D)?|\\d+D)'
const hours = 'T(?:\\d+H(?:\\d+M(?:\\d+S)?)?|\\d+M(?:\\d+S)?|\\d+S)'
const uri = `[a-zA-Z][a-zA-Z0-9+.-]*:(?:[a-zA-Z0-9._~:/?@!$&'()*+,;=-]|%[0-9a-fA-F]{2})+(?:#(?:[a-zA-Z0-9._~:/?@!$&'()*+,;=-]|%[0-9a-fA-F]{2})*)?`

const expressions: Record<string, string> = {
  date,
  time,
  'date-time': `${date}T${time}`,
  duration: `P(?:${days}(?:${hours})?|${hours}|\\d+W)`,
  email: `[a-zA-Z0-9!#$%&'*+/=?^_\`{|}~-]+(?:\\.[a-zA-Z0-9!#$%&'*+/=?^_\`{|}~-]+)*@${label}(?:\\.${label})+`,
  hostname: `(?=.{1,253}$)${labelsWithin(63, '*')}`,
  ipv4,
  ipv6,
  uuid: '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}',
  uri,
}

/** Expressions that match a part of the format only, and need far fewer states. */
const written: Record<string, string> = {
  // Within 253 characters in all.
  hostname: `(?:${labelsWithin(62, '{0,3}')}|${labelsWithin(20, '{0,11}')})`,
}

/** A whole-text expression for the texts of the format that a grammar accepts; undefined if it is an annotation. */
export function writtenFormat(format: unknown): string | undefined {
  if (typeof format === 'string' && Object.hasOwn(written, format)) return `^(?:${written[format]})$`
  return formatPattern(format)
}

/** A whole-text expression for the format; undefined if it is an annotation. */
export function formatPattern(format: unknown): string | undefined {
  if (typeof format !== 'string' || !Object.hasOwn(expressions, format)) return undefined
  return `^(?:${expressions[format]})$`
}
