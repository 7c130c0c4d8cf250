/** The message for an unknown route. */

/** Well-known API routes that this gateway does not offer. */
const unsupported: [RegExp, string][] = [
  [/\/embeddings$/, 'The model does not compute embeddings.'],
  [/\/fim\/completions$/, 'For fill-in-the-middle, send a chat request.'],
  [/\/v1\/completions$/, 'For plain completions, send the text as a chat message.'],
  [/\/(audio|images|moderations|ocr|files|batches|batch|assistants|threads|agents|conversations)(\/|$)/, ''],
]

const available =
  'POST /v1/chat/completions, POST /v1/responses, POST /v1/messages, POST /v1/messages/count_tokens, ' +
  'POST /mistral/v1/chat/completions, GET /v1/models. See /docs for all routes.'

export function notServed(method: string, path: string): string {
  const [, advice] = unsupported.find(([pattern]) => pattern.test(path)) ?? []
  const problem = advice === undefined ? `Unknown route ${method} ${path}.` : `${path} is not supported. ${advice}`
  return `${problem.trim()} Available: ${available}`
}
