/**
 * Grammars for complete answers: a response format, or tool calls.
 *
 * `<[32]>` in a grammar matches only the token with that id. So control tokens separate the parts of a call, as in
 * training, and not text that looks like them.
 *
 * A `GrammarJob` has the schemas of one request as text, so that it can be sent to the compiling process and used as a
 * cache key. All schemas of one job share one budget.
 */
import { noClientNames } from '../../backends/contract/tool-names.ts'
import type { ResponseFormat, Tool } from '../../backends/model/chat.ts'
import type { EngineRefusal } from './engine.ts'
import type { Grammar } from './messages.ts'
import { CompileBudget, compileLimits, depthMax, isTooDeep, jsonBytes } from './schema/compile-budget.ts'
import { compileSchema, jsonRules } from './schema/compile-schema.ts'
import { anyValue, kind } from './schema/form.ts'
import { literals } from './schema/literals.ts'
import { isSchema } from './schema/schema-parts.ts'

export interface GrammarJob {
  content: { kind: 'object' } | SchemaJob | null
  call: CallsJob | null
}

export interface SchemaJob {
  kind: 'schema'
  /** JSON text; null if the schema is too long, which only a schema without `strict` may be. */
  schema: string | null
  /** A schema that cannot be enforced is refused. Otherwise it is enforced as far as possible, with warnings. */
  strict: boolean
  /** The answer is an object in any case. */
  object: boolean
}

interface ToolJob {
  name: string
  /** The client's name, if it is another: for messages. */
  clientName?: string | undefined
  /** JSON text; null if the schemas of all tools are too long. */
  parameters: string | null
  /** As of a response format. */
  strict: boolean
}

export interface CallsJob {
  tools: ToolJob[]
  options: CallOptions
}

export interface CallOptions {
  argsId: number
  /** Exactly one call. */
  single: boolean
}

export interface Grammars {
  ok: true
  content: Grammar | null
  call: Grammar | null
  /** Each begins with the field of the request: what the grammars do not enforce. */
  warnings: readonly string[]
}

const schemaParam = 'response_format.json_schema.schema'

/** The response format's part of a job. A schema that is too long or too deep is refused before it is walked. */
export function formatJob(format: ResponseFormat): GrammarJob['content'] | EngineRefusal {
  if (format.kind === 'text') return null
  if (format.kind === 'json_object') return { kind: 'object' }
  const { schema, strict } = format
  const object = schema.type === 'object' || (schema.type === undefined && isSchema(schema.properties))
  if (jsonBytes(schema, compileLimits.schemaBytes) !== undefined)
    return { kind: 'schema', schema: jsonText(schema), strict, object }
  if (!strict) return { kind: 'schema', schema: null, strict, object }
  const bytesMax = compileLimits.schemaBytes.toLocaleString('en-US')
  return refused(
    isTooDeep(schema, compileLimits.schemaBytes)
      ? `it is nested more than ${depthMax} deep. Use a flatter schema`
      : `it has more than ${bytesMax} bytes. Use a shorter schema`,
  )
}

/** The tools' part of a job. If a schema is too long, the grammar only requires that the arguments are an object. */
export function callsJob(
  tools: readonly Tool[],
  options: CallOptions,
  clientNames: ReadonlyMap<string, string> = noClientNames,
): CallsJob {
  let left = compileLimits.schemaBytes
  const list = tools.map(({ name, parameters, strict = false }) => {
    const bytes = jsonBytes(parameters, left)
    left -= bytes ?? left
    const text = bytes === undefined ? null : jsonText(parameters)
    return { name, clientName: clientNames.get(name), parameters: text, strict }
  })
  return { tools: list, options }
}

/** JSON text with infinite numbers replaced by the largest finite ones: JSON.stringify would write 1e999 as null. */
function jsonText(value: unknown): string {
  return JSON.stringify(value, (_, each) =>
    each === Number.POSITIVE_INFINITY ? Number.MAX_VALUE : each === Number.NEGATIVE_INFINITY ? -Number.MAX_VALUE : each,
  )
}

/** Compiles a job within one budget. Never throws. */
export function compileGrammars({ content, call }: GrammarJob, budget = new CompileBudget()): Grammars | EngineRefusal {
  const warnings: string[] = []
  const compiled = content && compileContent(content, budget, warnings)
  if (compiled && 'ok' in compiled) return compiled
  const calling = call && compileCalls(call, budget, warnings)
  if (calling && 'ok' in calling) return calling
  return { ok: true, content: compiled, call: calling, warnings }
}

/** Any JSON, for a schema that cannot be enforced at all: its grammar and the warning. A strict one is refused. */
export function looseContent(content: SchemaJob, reason: string): Grammars | EngineRefusal {
  if (content.strict) return refused(reason)
  const rule = content.object ? 'object' : 'value'
  return {
    ok: true,
    content: grammar([`root ::= ${rule}`], content.object, anyValue.stacks),
    call: null,
    warnings: [`${schemaParam}: any JSON ${rule} is accepted, because ${reason}`],
  }
}

function compileContent(
  content: NonNullable<GrammarJob['content']>,
  budget: CompileBudget,
  warnings: string[],
): Grammar | EngineRefusal | null {
  if (content.kind === 'object') return grammar(['root ::= object'], true, anyValue.stacks)
  const { schema, strict } = content
  if (schema === null) return loosely(content, 'it is too long or nested too deeply', warnings)
  const compiled = compileSchema(JSON.parse(schema), 'root', strict, budget, schema.length)
  if (compiled.ok) {
    warnings.push(...compiled.warnings.map((warning) => `${schemaParam}: ${warning}`))
    return grammar(compiled.rules, !(compiled.form.kinds & kind.number), compiled.form.stacks)
  }
  const reason = `"${compiled.keyword}" at ${compiled.path}: ${compiled.reason}`
  return compiled.costly ? loosely(content, reason, warnings) : refused(reason)
}

function loosely(content: SchemaJob, reason: string, warnings: string[]): Grammar | EngineRefusal | null {
  const loose = looseContent(content, reason)
  if (!loose.ok) return loose
  warnings.push(...loose.warnings)
  return loose.content
}

/** `name[ARGS]json`. The arguments of each tool match its schema, as far as the budget allows, or without exception. */
function compileCalls(
  { tools, options }: CallsJob,
  budget: CompileBudget,
  warnings: string[],
): Grammar | EngineRefusal {
  const rules: string[] = []
  let stacks = anyValue.stacks
  for (const [index, tool] of tools.entries()) {
    const rule = `args-${index}`
    const compiled = argumentsRules(tool, rule, budget)
    const of = `tools: the parameters of "${shownName(tool)}"`
    if (!compiled.ok && tool.strict) return toolsRefused(tool, compiled.reason)
    rules.push(...(compiled.ok ? compiled.rules : [`${rule} ::= object`]))
    if (compiled.ok) {
      stacks = Math.max(stacks, compiled.form.stacks)
      warnings.push(...compiled.warnings.map((warning) => `${of}: ${warning}`))
    } else warnings.push(`${of} are not enforced, any JSON object is accepted: ${compiled.reason}`)
  }
  const argumentsOf = new Map(tools.map(({ name }, index) => [name, `args-${index}`]))
  return calls(tools, rules, (name) => argumentsOf.get(name) ?? 'object', stacks, options)
}

function argumentsRules({ parameters, strict }: ToolJob, rule: string, budget: CompileBudget) {
  if (parameters === null) return { ok: false, reason: 'the schemas of all tools are too long' } as const
  // A tool without a schema takes no arguments.
  const schema = parameters === '{}' ? { type: 'object', properties: {} } : JSON.parse(parameters)
  const compiled = compileSchema(schema, rule, strict, budget, parameters.length)
  if (!compiled.ok)
    return { ok: false, reason: `"${compiled.keyword}" at ${compiled.path}: ${compiled.reason}` } as const
  if (compiled.form.kinds === kind.object) return compiled
  return { ok: false, reason: 'they are no object. Use "type": "object"' } as const
}

/** The same grammar with any JSON object as arguments; refused if a tool is strict. */
export function anyArguments({ tools, options }: CallsJob, reason: string): Grammar | EngineRefusal {
  const strict = tools.find((tool) => tool.strict)
  if (strict) return toolsRefused(strict, reason)
  return calls(tools, [], () => 'object', anyValue.stacks, options)
}

function calls(
  tools: CallsJob['tools'],
  rules: readonly string[],
  argumentsOf: (name: string) => string,
  stacks: number,
  { argsId, single }: CallOptions,
): Grammar {
  const parts: string[] = []
  const names = literals(
    tools.map(({ name }) => name),
    (text) => `name-${parts.push(text) - 1}`,
    (name) => ` <[${argsId}]> ${argumentsOf(name)}`,
  )
  const call = [`call ::= ${names.text}`, ...parts.map((text, index) => `name-${index} ::= ${text}`)]
  return grammar(['root ::= call', ...call, ...rules], single, Math.max(stacks, names.stacks))
}

function grammar(rules: readonly string[], ends: boolean, stacks: number): Grammar {
  return { text: [...rules, ...jsonRules].join('\n'), ends, stacks }
}

const shownName = ({ name, clientName }: ToolJob) => clientName ?? name

/** A refusal of the tools or of the response format. `reason` has no full stop at its end. */
function toolsRefused(tool: ToolJob, reason: string): EngineRefusal {
  const message = `tools: the parameters of "${shownName(tool)}" have "strict": true and cannot be enforced: ${reason}.`
  return { ok: false, code: 'invalid_value', message, param: 'tools' }
}

function refused(reason: string): EngineRefusal {
  return { ok: false, code: 'invalid_value', message: `${schemaParam}: ${reason}.`, param: schemaParam }
}
