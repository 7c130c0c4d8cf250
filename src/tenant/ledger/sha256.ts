/**
 * SHA-256 of a text, in hex. The platform's own, native in workerd as in Node, and synchronous, as a Durable Object's
 * transaction must be; Web Crypto's digest is not.
 */
import { createHash } from 'node:crypto'

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
