/** The parts of `node:crypto` that the edge uses. workerd has them; its types declare them only with all of Node's. */
declare module 'node:crypto' {
  interface Hash {
    update(data: string | Uint8Array): Hash
    digest(encoding: 'hex'): string
  }
  interface Hmac {
    update(text: string): Hmac
    digest(): Uint8Array
    digest(encoding: 'base64url'): string
  }
  export function createHash(algorithm: 'sha256'): Hash
  export function createHmac(algorithm: 'sha256', key: string | Uint8Array): Hmac
}
