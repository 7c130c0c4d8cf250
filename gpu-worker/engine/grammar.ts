/**
 * Grammars for whole answers: a response format, or tool calls.
 *
 * `<[32]>` in a grammar is the token with that id and nothing else, so that a call's parts are told apart by control
 * tokens, as in training, and not by letters that look like them.
 */
import type { Format, Tool } from '../../backends/protocol/chat.ts'
import type { EngineRefusal } from './engine.ts'
import { compileSchema, formatRules, jsonRules, quoted } from './json-schema.ts'
import type { Grammar } from './messages.ts'

export function contentGrammar(format: Format): Grammar | EngineRefusal | null {
  if (format.kind === 'text') return null
  if (format.kind === 'json_object') return grammar(['root ::= object'], true)
  const compiled = compileSchema(format.schema, 'root', true)
  if (compiled.ok) return grammar(compiled.rules, !compiled.mayBeNumber)
  const param = 'response_format.json_schema.schema'
  const message = `${param}: "${compiled.keyword}" at ${compiled.path}: ${compiled.reason}`
  return { ok: false, code: 'invalid_value', message, param }
}

export interface CallOptions {
  argsId: number
  /** Given where the grammar itself begins with the token that starts a call. */
  callId?: number
  /** One call and then the end. */
  single: boolean
}

/** `name[ARGS]json`, with the arguments of each tool in the form of its own schema. */
export function callGrammar(tools: readonly Tool[], options: CallOptions): Grammar {
  const rules: string[] = []
  const alternatives = tools.map(({ name, parameters }, index) => {
    const rule = `args-${index}`
    const compiled = compileSchema(parameters, rule, false)
    const isObject = compiled.ok && compiled.rules[0]?.startsWith(`${rule} ::= "{"`)
    rules.push(...(isObject ? compiled.rules : [`${rule} ::= object`]))
    return `${quoted(name)} <[${options.argsId}]> ${rule}`
  })
  return calls(alternatives, rules, options)
}

/** The same with any JSON object as arguments. */
export function anyArgumentsGrammar(tools: readonly Tool[], options: CallOptions): Grammar {
  const names = tools.map(({ name }) => `${quoted(name)} <[${options.argsId}]> object`)
  return calls(names, [], options)
}

function calls(alternatives: readonly string[], rules: readonly string[], { callId, single }: CallOptions): Grammar {
  const call = `call ::= ${alternatives.join(' | ')}`
  if (callId === undefined) return grammar(['root ::= call', call, ...rules], single)
  const root = single ? `root ::= <[${callId}]> call` : `root ::= (<[${callId}]> call)+`
  return grammar([root, call, ...rules], single)
}

function grammar(rules: readonly string[], ends: boolean): Grammar {
  return { text: [...rules, ...jsonRules, ...formatRules].join('\n'), ends }
}
