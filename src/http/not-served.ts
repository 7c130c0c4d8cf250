/** What is served, for those who ask for something else. */

/** Kinds of models' endpoints that clients ask for and that this model has none of. */
const others: [RegExp, string][] = [
  [/\/embeddings$/, 'embeddings: this model makes none'],
  [/\/fim\/completions$/, 'fill-in-the-middle: ask for the code in a chat'],
  [/\/v1\/completions$/, 'plain completions: send the text as a message of a chat'],
  [/\/(audio|images|moderations|ocr|files|batches|batch|assistants|threads|agents|conversations)(\/|$)/, 'this'],
]

const served =
  'POST /v1/chat/completions, POST /v1/responses, POST /v1/messages (and its count_tokens), ' +
  'POST /mistral/v1/chat/completions, GET /v1/models; all of it is at /docs'

export function notServed(method: string, path: string): string {
  const other = others.find(([pattern]) => pattern.test(path))
  const what = other ? `${path} is not served here, ${other[1]}` : `${method} ${path} is not a route here`
  return `${what}; what is: ${served}`
}
