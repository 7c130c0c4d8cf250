/** The root that a backend's calls are relative to: what an operator writes, without a trailing slash or `/v1`. */
export function rootOf(url: string): string {
  return url.replace(/\/+$/, '').replace(/\/v1$/, '')
}
