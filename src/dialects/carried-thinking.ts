/**
 * Hidden thinking that a client sends back: the text itself, in a field that clients return unchanged (a thinking
 * block's signature, a reasoning item's encrypted content). It is encoded, not encrypted, and needs no signature: in
 * every dialect, a client may write thinking into its history.
 */
import { base64url } from 'jose'

const mark = 'tm1.'
/** The field's value when the text itself is visible to the client. */
export const openMark = 'tm1'

export function sealThinking(text: string): string {
  return mark + base64url.encode(text)
}

/** The text; undefined for a value that the gateway did not write. */
export function unsealThinking(sealed: string): string | undefined {
  if (!sealed.startsWith(mark)) return undefined
  try {
    const bytes = base64url.decode(sealed.slice(mark.length))
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}
