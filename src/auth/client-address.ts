/** The IP address of the client that sent a request. Pure. */

const addressCharactersMax = 64
const thisMachine = '127.0.0.1'

/**
 * @param header the header in which the proxy in front of the gateway puts the address, and which no client can set;
 *   null without a proxy: the gateway then listens on this machine only
 * @returns null if the proxy did not set the header
 */
export function clientAddress(headers: Headers, header: string | null): string | null {
  if (header === null) return thisMachine
  const address = headers.get(header)?.trim() ?? ''
  return address === '' || address.length > addressCharactersMax ? null : address
}
