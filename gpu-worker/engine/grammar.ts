/**
 * Grammars for complete answers: a response format, or tool calls.
 *
 * `<[32]>` in a grammar matches only the token with that id. So control tokens separate the parts of a call, as in
 * training, and not text that looks like them.
 *
 * A `GrammarJob` has the schemas of one request as text, so that it can be sent to the compiling process and used as a
 * cache key. All schemas of one job share one budget.
 */
import type { ResponseFormat, Tool } from '../../backends/model/chat.ts'
import type { EngineRefusal } from './engine.ts'
import type { Grammar } from './messages.ts'
import { CompileBudget, compileLimits, depthMax, isTooDeep, jsonBytes } from './schema/compile-budget.ts'
import { compileSchema, jsonRules } from './schema/compile-schema.ts'
import { anyValue, kind } from './schema/form.ts'
import { literals } from './schema/literals.ts'

export interface GrammarJob {
  content: { kind: 'object' } | { kind: 'schema'; schema: string } | null
  call: CallsJob | null
}

export interface CallsJob {
  /** The JSON text of each tool's schema; null if any object is accepted. */
  tools: { name: string; parameters: string | null }[]
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
}

const schemaParam = 'response_format.json_schema.schema'

/** The response format's part of a job. A schema that is too long or too deep is refused before it is walked. */
export function formatJob(format: ResponseFormat): GrammarJob['content'] | EngineRefusal {
  if (format.kind === 'text') return null
  if (format.kind === 'json_object') return { kind: 'object' }
  if (jsonBytes(format.schema, compileLimits.schemaBytes) !== undefined)
    return { kind: 'schema', schema: jsonText(format.schema) }
  const bytesMax = compileLimits.schemaBytes.toLocaleString('en-US')
  return refused(
    isTooDeep(format.schema, compileLimits.schemaBytes)
      ? `it is nested more than ${depthMax} deep. Use a flatter schema`
      : `it has more than ${bytesMax} bytes. Use a shorter schema`,
  )
}

/** The tools' part of a job. If a schema is too long, the grammar only requires that the arguments are an object. */
export function callsJob(tools: readonly Tool[], options: CallOptions): CallsJob {
  let left = compileLimits.schemaBytes
  const list = tools.map(({ name, parameters }) => {
    const bytes = jsonBytes(parameters, left)
    left -= bytes ?? left
    return { name, parameters: bytes === undefined ? null : jsonText(parameters) }
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
  const compiled = content && compileContent(content, budget)
  if (compiled && 'ok' in compiled) return compiled
  return { ok: true, content: compiled, call: call && compileCalls(call, budget) }
}

function compileContent(content: NonNullable<GrammarJob['content']>, budget: CompileBudget): Grammar | EngineRefusal {
  if (content.kind === 'object') return grammar(['root ::= object'], true, anyValue.stacks)
  return contentGrammar(JSON.parse(content.schema), content.schema.length, budget)
}

function contentGrammar(schema: unknown, bytes: number, budget: CompileBudget): Grammar | EngineRefusal {
  const compiled = compileSchema(schema, 'root', true, budget, bytes)
  if (compiled.ok) return grammar(compiled.rules, !(compiled.form.kinds & kind.number), compiled.form.stacks)
  return refused(`"${compiled.keyword}" at ${compiled.path}: ${compiled.reason}`)
}

/** `name[ARGS]json`. The arguments of each tool match its schema, as far as the budget allows. */
function compileCalls({ tools, options }: CallsJob, budget: CompileBudget): Grammar {
  const rules: string[] = []
  let stacks = anyValue.stacks
  tools.forEach(({ parameters }, index) => {
    const rule = `args-${index}`
    const compiled =
      parameters === null ? undefined : compileSchema(JSON.parse(parameters), rule, false, budget, parameters.length)
    const bound = compiled?.ok && compiled.form.kinds === kind.object
    rules.push(...(bound ? compiled.rules : [`${rule} ::= object`]))
    if (bound) stacks = Math.max(stacks, compiled.form.stacks)
  })
  const argumentsOf = new Map(tools.map(({ name }, index) => [name, `args-${index}`]))
  return calls(tools, rules, (name) => argumentsOf.get(name) ?? 'object', stacks, options)
}

/** The same grammar with any JSON object as arguments. */
export function anyArguments({ tools, options }: CallsJob): Grammar {
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

/** A refusal of the response format. `reason` has no full stop at its end. */
export function refused(reason: string): EngineRefusal {
  return { ok: false, code: 'invalid_value', message: `${schemaParam}: ${reason}.`, param: schemaParam }
}
