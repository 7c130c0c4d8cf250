/**
 * Fits the schemas of a request to engines over HTTP. What such an engine does not enforce is a warning, or the refusal of
 * a strict schema, which another engine may take. See `engine-schema.ts`.
 */
import type { BackendFailure } from '../../contract/backend.ts'
import type { Chat, ResponseFormat, Tool } from '../../model/chat.ts'
import { cleanText } from '../../model/clean-text.ts'
import { engineSchema, type SchemaAllowance, type SchemaLoss, schemaAllowance } from './engine-schema.ts'

type Fitted = { ok: true; chat: Chat; warnings: string[] } | BackendFailure

/** The `strict` of a tool. `always`: the engine holds every call to its schema. `absent`: the engine has no such field. */
export type StrictTools = 'sent' | 'always' | 'absent'

const formatField = 'response_format.json_schema.schema'

/** @param strictTools which schemas of tools the engine compiles: all, or only strict ones */
export function withEngineSchemas(chat: Chat, strictTools: StrictTools): Fitted {
  const warnings: string[] = []
  const allowance = schemaAllowance()
  const format = fittedFormat(chat.format, allowance, warnings)
  if ('ok' in format) return format
  const tools: Tool[] = []
  for (const tool of chat.toolChoice.kind === 'none' ? [] : chat.tools) {
    const fitted = fittedTool(tool, strictTools, allowance, warnings)
    if ('ok' in fitted) return fitted
    tools.push(fitted)
  }
  return { ok: true, chat: { ...chat, format, tools: tools.length > 0 ? tools : chat.tools }, warnings }
}

function fittedFormat(
  format: ResponseFormat,
  allowance: SchemaAllowance,
  warnings: string[],
): ResponseFormat | BackendFailure {
  if (format.kind !== 'json_schema') return format
  const fitted = engineSchema(format.schema, 'enforced', allowance)
  if (!fitted.ok) return refusal(formatField, formatField, fitted.fault, false)
  const [first] = fitted.losses
  if (format.strict && first) return refusal(formatField, formatField, first, true)
  warnings.push(...fitted.losses.slice(0, shownMax).map((loss) => `${formatField}: ${lossText(loss)}`))
  if (fitted.schema === format.schema) return format
  const { schemaText: _schemaText, ...rest } = format
  return { ...rest, schema: fitted.schema }
}

/** A schema of a tool is a part of the prompt, so no more is removed than what the engine refuses or runs long on. */
function fittedTool(
  tool: Tool,
  strictTools: StrictTools,
  allowance: SchemaAllowance,
  warnings: string[],
): Tool | BackendFailure {
  const compiled = strictTools === 'always' || (strictTools === 'sent' && tool.strict)
  if (!compiled) return tool
  const of = `tools: the parameters of "${tool.name}"`
  const fitted = engineSchema(tool.parameters, strictTools === 'sent' ? 'enforced' : 'harmless', allowance)
  if (!fitted.ok) return refusal('tools', of, fitted.fault, false)
  const [first] = fitted.losses
  if (tool.strict && first) return refusal('tools', of, first, true)
  warnings.push(...fitted.losses.slice(0, shownMax).map((loss) => `${of}: ${lossText(loss)}`))
  if (fitted.schema === tool.parameters) return tool
  const { parametersText: _parametersText, ...rest } = tool
  return { ...rest, parameters: fitted.schema }
}

const shownMax = 8
const pathMax = 200

function lossText({ keyword, path, reason }: SchemaLoss): string {
  return `"${keyword}" at ${cleanText(path, pathMax)} is not enforced: ${reason}`
}

/** @param elsewhere whether another engine may take it */
function refusal(
  param: string,
  subject: string,
  { keyword, path, reason }: SchemaLoss,
  elsewhere: boolean,
): BackendFailure {
  const message = elsewhere
    ? `${subject}: "${keyword}" at ${cleanText(path, pathMax)} cannot be enforced: ${reason}. Leave it out, or send "strict": false.`
    : `${subject}: "${keyword}" at ${cleanText(path, pathMax)} is not valid: ${reason}. Change it.`
  const failure = { ok: false as const, code: 'invalid_value' as const, message, param }
  return { ...failure, retryAfterMs: null, operator: false, ...(elsewhere && { unsupported: true }) }
}
