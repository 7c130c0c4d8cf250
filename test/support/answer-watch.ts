/**
 * Checks the answers of running products against their own OpenAPI documents, as the tests and the SDKs in their process
 * read them with `fetch`. It changes no answer and no stream: it notes the faults, and a hook fails the test.
 */
import { AnswerCheck, type SeenAnswer } from './answer-check.ts'

const plainFetch = globalThis.fetch
/** By origin. */
const checks = new Map<string, AnswerCheck>()
/** One answer may be seen twice, because `text()` may use the body's reader. */
let faults = new Set<string>()

/** Loads the documents of the product at this origin. Its answers are checked from now on. */
export async function watchAnswers(origin: string): Promise<void> {
  const documents = ['/openapi.json', '/openapi/operators.json']
  const load = async (path: string): Promise<unknown> => (await plainFetch(origin + path)).json()
  checks.set(origin, new AnswerCheck(await Promise.all(documents.map(load))))
}

/** The faults since the last call. */
export function takeFaults(): string[] {
  const taken = [...faults]
  faults = new Set()
  return taken
}

export const watchedFetch: typeof fetch = async (input, init) => {
  const response = await plainFetch(input, init)
  const { origin, pathname } = new URL(input instanceof Request ? input.url : input)
  const check = checks.get(origin)
  const method = init?.method ?? (input instanceof Request ? input.method : 'GET')
  if (check)
    watch(response, (text, type) => note(check, { method, path: pathname, status: response.status, type, text }))
  return response
}

function note(check: AnswerCheck, seen: SeenAnswer): void {
  const fault = check.faultOf(seen)
  if (fault !== undefined) faults.add(fault)
}

/** Calls `see` with the text that a reader gets, whole or up to the point at which the reader stops. */
function watch(response: Response, see: (text: string, type: string) => void): void {
  const type = response.headers.get('content-type') ?? ''
  const read = response.text.bind(response)
  const text = async () => {
    const body = await read()
    see(body, type)
    return body
  }
  response.text = text
  response.json = async () => JSON.parse(await text())
  const clone = response.clone.bind(response)
  response.clone = () => {
    const copy = clone()
    watch(copy, see)
    return copy
  }
  if (response.body) watchBody(response.body, (body, ended) => (ended || isStream(type)) && see(body, type))
}

const isStream = (type: string) => type.startsWith('text/event-stream')

/** @param see gets the text once, when the body has ended or the reader stops */
function watchBody(body: ReadableStream<Uint8Array>, see: (text: string, ended: boolean) => void): void {
  const decoder = new TextDecoder()
  let text = ''
  let seen = false
  const finish = (ended: boolean) => {
    if (!seen) see(text, ended)
    seen = true
  }
  const take = (read: ReadableStreamReadResult<Uint8Array>) => {
    text += read.value ? decoder.decode(read.value, { stream: true }) : ''
    if (read.done) finish(true)
    return read
  }
  const getReader = body.getReader.bind(body) as () => ReadableStreamDefaultReader<Uint8Array>
  body.getReader = (() => {
    const reader = getReader()
    const [read, cancel] = [reader.read.bind(reader), reader.cancel.bind(reader)]
    reader.read = async () => take(await read())
    reader.cancel = (reason) => {
      finish(false)
      return cancel(reason)
    }
    return reader
  }) as typeof body.getReader
  const values = body.values.bind(body)
  body.values = (options) => {
    const iterator = values(options)
    const [next, back] = [iterator.next.bind(iterator), iterator.return?.bind(iterator)]
    iterator.next = async () =>
      take((await next()) as ReadableStreamReadResult<Uint8Array>) as IteratorResult<Uint8Array>
    if (back)
      iterator.return = (value) => {
        finish(false)
        return back(value)
      }
    return iterator
  }
  body[Symbol.asyncIterator] = body.values
}
