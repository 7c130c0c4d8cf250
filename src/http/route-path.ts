/**
 * Clients build an address from a base and a path, and people configure the base with or without `/v1`, with a slash at
 * its end, or as an Azure client does. The path that the routes know follows from each of these.
 */

const chatPaths = /^(\/mistral)?\/(chat\/completions|completions|responses|messages|models)(\/|$)/

/** `/v1/chat/completions` of `/v1/v1/chat/completions`, `//v1/chat/completions/`, `/chat/completions` and so on. */
export function routePath(pathname: string): string {
  let path = pathname.includes('//') ? pathname.replace(/\/{2,}/g, '/') : pathname
  if (path.length > 1 && path.endsWith('/')) path = path.slice(0, -1)
  if (path.startsWith('/openai/v1/')) path = path.slice('/openai'.length)
  while (path.startsWith('/v1/v1/')) path = path.slice('/v1'.length)
  if (path.startsWith('/mistral/v1/v1/')) path = `/mistral${path.slice('/mistral/v1'.length)}`
  return chatPaths.test(path) ? path.replace(/^(\/mistral)?/, '$1/v1') : path
}
