/** Keeps calls of this machine to itself out of a proxy. */

const loopback = ['127.0.0.1', 'localhost', '[::1]', '::1']

/**
 * Returns `NO_PROXY` in both spellings with the loopback addresses added; empty without a proxy. With
 * `NODE_USE_ENV_PROXY=1`, `fetch` sends `http://127.0.0.1:8787` to `HTTP_PROXY` too, and no proxy can reach that.
 * Node reads `NO_PROXY` at each request, so a program may assign the result to its own environment. Pure.
 */
export function loopbackNoProxy(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const proxies = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY']
  if (!proxies.some((name) => environment[name])) return {}
  // Node reads the lower-case variable first, also an empty one; other programs read either. So both get all entries.
  const given = `${environment.no_proxy ?? ''},${environment.NO_PROXY ?? ''}`.split(/[\s,]+/).filter(Boolean)
  if (given.includes('*')) return { no_proxy: '*', NO_PROXY: '*' }
  const entries = [...new Set([...given, ...loopback])].join(',')
  return { no_proxy: entries, NO_PROXY: entries }
}
