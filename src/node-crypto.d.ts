/** The one function that the edge takes from Node's library, which workerd offers under the same name. */
declare module 'node:crypto' {
  export function createHash(algorithm: 'sha256'): { update(text: string): { digest(encoding: 'hex'): string } }
}
