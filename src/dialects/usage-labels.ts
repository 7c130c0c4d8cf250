/**
 * Reads the labels of a request, by which usage is reported. Every dialect has the same ones:
 *
 *   the end user   `safety_identifier` or `user`, or `metadata.user_id`
 *   tags           the other texts of `metadata`, as `name:value`, and the header `x-tramontane-tags`
 *
 * A label in the body that cannot be one is named in a warning, because clients of other APIs send such fields. The
 * header belongs to this API, so a wrong one is refused.
 */
import { budgets } from '../../backends/model/budgets.ts'
import { GatewayError } from '../http/errors.ts'
import type { UsageLabels } from '../tenant/usage/labels.ts'

export const tagsHeader = 'x-tramontane-tags'

export interface ReadLabels {
  labels: UsageLabels
  warnings: string[]
}

/** @param body the parsed JSON of a valid request */
export function readUsageLabels(body: unknown, header: string | null): ReadLabels {
  const warnings: string[] = []
  const { user, safety_identifier: identifier, metadata } = fieldsOf(body)
  const { user_id: userId, ...others } = fieldsOf(metadata)
  const named = { safety_identifier: identifier, user, 'metadata.user_id': userId }
  const endUser = readEndUser(named, warnings)
  if (metadata != null && (typeof metadata !== 'object' || Array.isArray(metadata)))
    warnings.push('metadata: not an object, so usage reports have no tags of it')
  const tags = new Set(readHeader(header))
  for (const [name, value] of Object.entries(others)) {
    const tag = metadataTag(name, value, warnings)
    if (tag === undefined) continue
    if (tags.size >= tagsMax && !tags.has(tag)) {
      warnings.push(`metadata: a request has at most ${tagsMax} tags, so usage reports count the first ${tagsMax}`)
      break
    }
    tags.add(tag)
  }
  return { labels: { endUser, tags: [...tags] }, warnings }
}

const tagsMax = budgets.tagsPerRequest.value
const charactersMax = budgets.usageLabelCharacters.value

function readEndUser(named: Readonly<Record<string, unknown>>, warnings: string[]): string | null {
  let endUser: string | null = null
  for (const [field, value] of Object.entries(named)) {
    if (value === undefined || value === null || value === '') continue
    if (typeof value !== 'string') warnings.push(`${field}: not a text, so usage reports do not count it`)
    else if (!isLabel(value)) warnings.push(`${field}: ${unfit}, so usage reports do not count it`)
    else if (endUser !== null && endUser !== value)
      warnings.push(`${field}: another field names the end user, so usage reports do not count this one`)
    else endUser = value
  }
  return endUser
}

function metadataTag(name: string, value: unknown, warnings: string[]): string | undefined {
  const field = `metadata.${name.slice(0, 64)}`
  if (value === null || value === undefined) return undefined
  if (!['string', 'number', 'boolean'].includes(typeof value)) {
    warnings.push(`${field}: not a text, so it is no tag in usage reports`)
    return undefined
  }
  const tag = `${name}:${value}`
  if (isLabel(tag)) return tag
  warnings.push(`${field}: with its name ${unfit}, so it is no tag in usage reports`)
  return undefined
}

function readHeader(header: string | null): string[] {
  const tags = (header ?? '')
    .split(',')
    .map((tag) => tag.trim())
    .filter((tag) => tag !== '')
  const wrong = tags.find((tag) => !isLabel(tag))
  if (wrong !== undefined) throw refused(`a tag is ${unfit}. Shorten it.`)
  if (new Set(tags).size > tagsMax) throw refused(`at most ${tagsMax} tags, separated by commas. Remove some.`)
  return tags
}

const unfit = `longer than ${charactersMax} characters or with control characters`

/** Any printable text, so that it can be shown and searched. */
function isLabel(text: string): boolean {
  return text.length <= charactersMax && !/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u.test(text)
}

function refused(message: string): GatewayError {
  return new GatewayError('invalid_value', `${tagsHeader}: ${message}`, { param: tagsHeader })
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}
