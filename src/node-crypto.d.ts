/** The little of Node's crypto that the edge uses; workerd has it, its types do not name it without the whole of Node. */
declare module 'node:crypto' {
  export function createHash(algorithm: 'sha256'): { update(text: string): { digest(encoding: 'hex'): string } }
  export function createHmac(
    algorithm: 'sha256',
    key: string | Uint8Array,
  ): { update(text: string): { digest(): Uint8Array; digest(encoding: 'base64url'): string } }
}
