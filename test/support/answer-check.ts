/**
 * Checks answers against the gateway's published OpenAPI documents. Tests receive their answers through it, so that
 * every answer that a test sees is one that the documents allow.
 */
import { createParser } from 'eventsource-parser'
import { z } from 'zod'

type Json = Record<string, unknown>
interface Document {
  paths: Record<string, Record<string, { responses: Record<string, { content?: Record<string, { schema: Json }> }> }>>
  components: { schemas: Record<string, Json> }
}

export interface SeenAnswer {
  method: string
  path: string
  status: number
  /** Of the header `content-type`; empty without a body. */
  type: string
  text: string
}

export class AnswerCheck {
  readonly #operations: { method: string; pattern: RegExp; document: Document; path: string }[] = []
  readonly #schemas = new Map<string, z.ZodType>()

  constructor(documents: readonly unknown[]) {
    for (const document of documents as Document[])
      for (const [path, methods] of Object.entries(document.paths))
        for (const method of Object.keys(methods)) {
          const text = path.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace(/\{(\w+)\}/g, '[^/]+')
          this.#operations.push({ method, path, document, pattern: new RegExp(`^${text}$`) })
        }
    // A fixed path wins over one with parameters.
    this.#operations.sort((a, b) => Number(a.path.includes('{')) - Number(b.path.includes('{')))
  }

  /** Returns the reason why the documents forbid this answer; undefined where they allow it or do not have the route. */
  faultOf({ method, path, status, type, text }: SeenAnswer): string | undefined {
    const found = this.#operations.find(
      (each) => each.method === method.toLowerCase() && each.pattern.test(path.split('?')[0] ?? ''),
    )
    if (!found) return undefined
    const name = `${found.method} ${found.path} ${status}`
    const responses = found.document.paths[found.path]?.[found.method]?.responses ?? {}
    const described = responses[String(status)] ?? (status >= 400 ? responses.default : undefined)
    if (!described) return `${name}: the status is not in the document`
    const media = type.split(';')[0]?.trim() ?? ''
    if (text === '') return undefined
    const content = described.content?.[media]
    if (!content) return `${name}: the content type ${media} is not in the document`
    if (media !== 'application/json' && media !== 'text/event-stream') return undefined
    const key = `${name} ${media}`
    const schema = this.#schemas.get(key) ?? schemaOf(content.schema, found.document)
    this.#schemas.set(key, schema)
    for (const json of media === 'application/json' ? [text] : eventsOf(text)) {
      const value = parsed(json)
      if (value === undefined) return `${name}: not JSON: ${json.slice(0, 500)}`
      const read = schema.safeParse(value)
      if (!read.success) return `${name}: ${z.prettifyError(read.error)}\n${json.slice(0, 500)}`
    }
    return undefined
  }
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

/** The data of each complete event. A stream that breaks off is no fault, and `[DONE]` is no JSON. */
function eventsOf(text: string): string[] {
  const events: string[] = []
  const parser = createParser({ onEvent: ({ data }) => void events.push(data) })
  parser.feed(text)
  return events.filter((data) => data !== '[DONE]')
}

function schemaOf(schema: Json, document: Document): z.ZodType {
  const whole = { ...schema, $defs: document.components.schemas }
  const local = JSON.parse(JSON.stringify(whole).replaceAll('#/components/schemas/', '#/$defs/')) as Json
  return z.fromJSONSchema(local as Parameters<typeof z.fromJSONSchema>[0])
}
