/** The parts of `node:crypto` that the edge uses. workerd has them; its types declare them only with all of Node's. */
declare module 'node:crypto' {
  export function createHash(algorithm: 'sha256'): { update(text: string): { digest(encoding: 'hex'): string } }
  export function createHmac(
    algorithm: 'sha256',
    key: string | Uint8Array,
  ): { update(text: string): { digest(): Uint8Array; digest(encoding: 'base64url'): string } }
}
