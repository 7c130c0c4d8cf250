/** The message for an unknown route. */

/** Well-known API routes that this gateway does not offer. */
const unsupported: [RegExp, string][] = [
  [/\/embeddings$/, 'The model does not compute embeddings.'],
  [/\/fim\/completions$/, 'For fill-in-the-middle, send a chat request.'],
  [/\/(audio|images|moderations|ocr|files|batches|batch|assistants|threads|agents|conversations)(\/|$)/, ''],
]

const available =
  'POST /v1/chat/completions, POST /v1/responses, POST /v1/messages, POST /v1/messages/count_tokens, ' +
  'POST /mistral/v1/chat/completions, POST /v1/completions, GET /v1/models. See /docs for all routes.'

/** @param paths of all routes, with parameters in braces */
export function notServed(method: string, path: string, paths: readonly string[]): string {
  const [, advice] = unsupported.find(([pattern]) => pattern.test(path)) ?? []
  const near = advice === undefined ? nearest(path, paths) : undefined
  const problem = advice === undefined ? `Unknown route ${method} ${path}.` : `${path} is not supported. ${advice}`
  return `${problem.trim()}${near ? ` Did you mean ${near}?` : ''} Available: ${available}`
}

/** The route whose path differs by the fewest letters, if it is near enough. */
function nearest(path: string, paths: readonly string[]): string | undefined {
  let best: { path: string; distance: number } | undefined
  for (const known of paths) {
    const distance = editDistance(path, known, Math.max(2, Math.floor(known.length / 4)))
    if (distance !== undefined && (!best || distance < best.distance)) best = { path: known, distance }
  }
  return best?.path
}

/** Levenshtein distance up to `max`; undefined above. Quadratic in the lengths, which are bounded by the caller. */
function editDistance(a: string, b: string, max: number): number | undefined {
  if (Math.abs(a.length - b.length) > max) return undefined
  let row = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + Number(a[i - 1] !== b[j - 1])
      next[j] = Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1)
    }
    row = next
  }
  const distance = row[b.length] ?? max + 1
  return distance <= max ? distance : undefined
}
