/**
 * Compiles a JSON schema to a GBNF grammar.
 *
 * The grammar accepts a subset of what the schema accepts, never more: properties come in the schema's order, an object
 * with named properties has others only if the schema says which, and white space is limited. Strings and numbers are
 * automata (automaton.ts), so all their keywords apply together. In strict mode a keyword that cannot be enforced is
 * refused by name; otherwise it is left out, with a warning.
 *
 * All work is charged to one budget (compile-budget.ts). The library follows every possible parse of an answer at once,
 * with one parse stack each, and each stack costs a pass over the vocabulary per token. So each form carries the
 * maximum number of its stacks (form.ts), and a form with too many is refused.
 */

import { BudgetExceeded, CompileBudget, SchemaRefused, shown } from './compile-budget.ts'
import type { Form } from './form.ts'
import { SchemaWriter } from './schema-writer.ts'
import { valueForm } from './values.ts'

export type Compiled =
  | {
      ok: true /** One rule per item. The start rule is `name`. */
      rules: string[]
      form: Form /** Keywords that are not enforced. */
      warnings: string[]
    }
  | {
      ok: false
      keyword: string
      path: string
      reason: string
      /** The schema is valid, and exceeds the budget. */
      costly: boolean
    }

export const jsonRules: readonly string[] = [
  String.raw`ws ::= | " " | "\n" [ \t]{0,20}`,
  String.raw`string ::= "\"" char* "\""`,
  // No escape of half a surrogate pair: it is not valid text.
  String.raw`char ::= [^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" ([0-9a-cA-CefEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}))`,
  'integer ::= "-"? ("0" | [1-9] [0-9]{0,15})',
  'number ::= integer ("." [0-9]{1,16})? ([eE] [-+]? [1-9] [0-9]{0,1})?',
  'boolean ::= "true" | "false"',
  'null ::= "null"',
  'value ::= object | array | string | number | boolean | null',
  'object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)* ws)? "}"',
  'array ::= "[" ws (value ("," ws value)* ws)? "]"',
]

/**
 * @param name prefix of all compiled rules; the grammar must also have `jsonRules`
 * @param budget shared by all schemas of one request
 * @param bytes the length of the schema's JSON text
 */
export function compileSchema(
  schema: unknown,
  name: string,
  strict: boolean,
  budget: CompileBudget = new CompileBudget(),
  bytes = 0,
): Compiled {
  const writer = new SchemaWriter(schema, name, strict, budget, valueForm)
  try {
    budget.spend('schemaBytes', bytes, '#')
    return { ok: true, ...writer.write() }
  } catch (error) {
    if (error instanceof SchemaRefused)
      return {
        ...{ ok: false, keyword: error.keyword, path: error.path, reason: error.message },
        costly: error instanceof BudgetExceeded,
      }
    // The schema caused this exception; the engine is not at fault.
    const name = error instanceof Error ? error.name : 'error'
    return {
      ok: false,
      keyword: 'schema',
      path: shown(writer.path),
      reason: `it cannot be read (${name}). Send a valid JSON Schema`,
      costly: false,
    }
  }
}
