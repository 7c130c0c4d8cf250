/** The reference page of one audience, generated from the schemas that read the requests. */
import { html, raw } from 'hono/html'
import { type Operation, type Tag, tags } from '../http/route.ts'
import type { Audience } from './navigation.ts'
import { answerSchema, audienceOf, bodySchema, documentedPath, pathParameters, queryParameters } from './openapi.ts'
import { escapeHtml, type Heading, type RenderedPage } from './site.ts'

type JsonValue = Record<string, unknown>
/** Fields below this depth are only in the OpenAPI document. */
const depthMax = 5

const intros: Record<Audience, ReturnType<typeof html>> = {
  users: html`<p>Every route that an API key reaches. Send the key as <code>authorization: Bearer tm_…</code> or as <code>x-api-key</code>.
The same as <a href="/openapi.json">OpenAPI 3.1</a>, and for language models as <a href="/llms.txt">llms.txt</a>.</p>`,
  operators: html`<p>Every route under <code>/admin</code>. Send an operator key as <code>authorization: Bearer tmop_…</code>; each route names
the scope that the key needs. The same as <a href="/openapi/operators.json">OpenAPI 3.1</a>.</p>`,
}

export function referencePage(operations: readonly Operation[], audience: Audience): RenderedPage {
  const title = audience === 'users' ? 'API reference' : 'Operator reference'
  const own = operations.filter((operation) => audienceOf(operation) === audience)
  const groups = (Object.keys(tags) as Tag[])
    .map((tag) => ({ tag, id: tag.toLowerCase().replace(/\W+/g, '-'), routes: own.filter((each) => each.tag === tag) }))
    .filter(({ routes }) => routes.length > 0)
  const content = html`<h1>${title}</h1>
${intros[audience]}
${groups.map(
  ({
    tag,
    id,
    routes,
  }) => html`<h2 id="${id}">${tag}<a class="anchor" href="#${id}" aria-label="Link to ${tag}">#</a></h2>
<p>${inline(tags[tag])}</p>
${routes.map(route)}`,
)}`
  return {
    title,
    description: `Routes, parameters and fields, for ${audience}.`,
    html: String(content),
    headings: groups.map(({ tag, id }): Heading => ({ id, text: tag, depth: 2 })),
    passages: own.map((operation) => ({
      id: operation.id,
      heading: `${operation.method.toUpperCase()} ${documentedPath(operation)}`,
      text: [operation.summary, operation.description ?? ''].join('. ').replaceAll('`', ''),
    })),
  }
}

function route(operation: Operation) {
  const { method, summary, description, scope, streams } = operation
  const inPath = pathParameters(operation)
  const parameters = queryParameters(operation)
  const body = bodySchema(operation)
  const answer = answerSchema(operation)
  return html`<details class="route" id="${operation.id}">
<summary><span class="verb">${method}</span><code>${documentedPath(operation)}</code><span class="summary">${inline(summary)}</span></summary>
<div class="body">
${description ? html`<p>${inline(description)}</p>` : ''}${scope ? html`<p class="quiet">Scope: <code>${scope}</code></p>` : ''}
${inPath.length > 0 ? html`<h4>Path parameters</h4>${parameterList(inPath)}` : ''}
${parameters.length > 0 ? html`<h4>Query parameters</h4>${parameterList(parameters)}` : ''}
${body ? html`<h4>Body</h4>${fields(body, 1)}` : ''}
${answer ? html`<h4>Answer${streams ? ', when it does not stream' : ''}</h4>${fields(answer, 1)}` : ''}
</div>
</details>
`
}

function parameterList(parameters: readonly JsonValue[]) {
  return html`<ul class="fields">${parameters.map(({ name, schema, description, required }) =>
    field(String(name), { ...(schema as JsonValue), description }, required === true, 1),
  )}</ul>`
}

function fields(schema: JsonValue, depth: number): ReturnType<typeof html> | string {
  const properties = Object.entries((schema.properties ?? {}) as Record<string, JsonValue>)
  const required = new Set((schema.required ?? []) as string[])
  if (properties.length === 0) return html`<p class="quiet">${typeOf(schema)}</p>`
  return html`<ul class="fields">${properties.map(([name, each]) => field(name, each, required.has(name), depth))}</ul>`
}

function field(name: string, schema: JsonValue, required: boolean, depth: number): ReturnType<typeof html> {
  const inside = depth < depthMax ? childrenOf(schema) : []
  return html`<li><code>${name}</code> <span class="type">${typeOf(schema)}</span>${required ? html` <span class="required">required</span>` : ''}${schema.description ? html`<p>${inline(String(schema.description))}</p>` : ''}${inside.map(
    ({ label, schema: child }) => html`<details><summary>${label}</summary>${fields(child, depth + 1)}</details>`,
  )}</li>`
}

/** The objects in a field: itself, its elements, or its alternatives. */
function childrenOf(schema: JsonValue): { label: string; schema: JsonValue }[] {
  if (schema.properties) return [{ label: 'Fields', schema }]
  if (schema.type === 'array') {
    return childrenOf((schema.items ?? {}) as JsonValue).map(({ label, schema: child }) => ({
      label: label === 'Fields' ? 'Fields of each element' : label,
      schema: child,
    }))
  }
  const alternatives = ((schema.anyOf ?? schema.oneOf ?? []) as JsonValue[]).flatMap(childrenOf)
  if (alternatives.length < 2) return alternatives
  return alternatives.map(({ label, schema: child }) => ({ label: nameOf(child) ?? label, schema: child }))
}

/** `type: "text"` or `role: "user"`, where a constant distinguishes an alternative, or the values of the first field. */
function nameOf(schema: JsonValue): string | undefined {
  const properties = Object.entries((schema.properties ?? {}) as Record<string, JsonValue>)
  for (const [name, value] of properties)
    if (value.const !== undefined) return `Fields, where ${name} is "${value.const}"`
  const [name, first = {}] = properties[0] ?? []
  if (Array.isArray(first.enum))
    return `Fields, where ${name} is ${first.enum.map((value) => `"${value}"`).join(' or ')}`
  return first.not === undefined ? undefined : `Fields, where ${name} is another`
}

function typeOf(schema: JsonValue): string {
  const inner = notNull(schema)
  const facts = [kindOf(schema)]
  if (typeof inner.exclusiveMinimum === 'number') facts.push(`above ${inner.exclusiveMinimum}`)
  if (schema.default !== undefined) facts.push(`default ${JSON.stringify(schema.default)}`)
  for (const [min, max, unit] of [
    [inner.minimum, inner.maximum, ''],
    [inner.minLength, inner.maxLength, ' characters'],
    [inner.minItems, inner.maxItems, ' elements'],
  ] as const) {
    const low = real(min)
    const high = real(max)
    if (low !== undefined && low === high) facts.push(`exactly ${low}${low === '1' ? unit.slice(0, -1) : unit}`)
    else if (low !== undefined && high !== undefined) facts.push(`${low} to ${high}${unit}`)
    else if (high !== undefined) facts.push(`at most ${high}${unit}`)
    else if (low !== undefined) facts.push(`at least ${low}${unit}`)
  }
  return facts.join(', ')
}

/** The schema without its null alternative, which has the bounds. */
function notNull(schema: JsonValue): JsonValue {
  const alternatives = ((schema.anyOf ?? []) as JsonValue[]).filter(({ type }) => type !== 'null')
  return alternatives.length === 1 ? (alternatives[0] as JsonValue) : schema
}

/** The bound as text. For an unbounded number, JSON Schema has the largest safe integer. */
function real(bound: unknown): string | undefined {
  return typeof bound === 'number' && Math.abs(bound) < Number.MAX_SAFE_INTEGER
    ? bound.toLocaleString('en-US')
    : undefined
}

function kindOf(schema: JsonValue): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => JSON.stringify(value)).join(' | ')
  const alternatives = (schema.anyOf ?? schema.oneOf) as JsonValue[] | undefined
  if (alternatives) return [...new Set(alternatives.map(kindOf))].join(' | ')
  if (schema.type === 'array') {
    const element = kindOf((schema.items ?? {}) as JsonValue)
    return element.includes('|') ? `array of (${element})` : `array of ${element}`
  }
  return schema.type === undefined ? 'any' : [schema.type].flat().join(' | ')
}

/** Renders Markdown backticks in texts of schemas and routes. */
function inline(text: string) {
  return raw(escapeHtml(text).replace(/`([^`]+)`/g, '<code>$1</code>'))
}
