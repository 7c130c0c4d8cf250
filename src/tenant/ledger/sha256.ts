/**
 * SHA-256 of a text, in hex. Uses `node:crypto`, native in workerd and Node. It is synchronous, as a Durable Object's
 * transaction requires; Web Crypto's digest is not.
 */
import { createHash } from 'node:crypto'

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
