/**
 * Thinking that a client carries back without showing it: the text itself, in a field that clients hand on untouched
 * (a thinking block's signature, a reasoning item's encrypted content). It hides nothing from whoever was given it, and
 * needs no seal: a client may write thinking into its history on every surface.
 */
import { base64url } from 'jose'

const mark = 'tm1.'
/** What stands there when the text is carried in the open. */
export const openMark = 'tm1'

export function sealThinking(text: string): string {
  return mark + base64url.encode(text)
}

/** The text, or undefined where this is not one of ours. */
export function unsealThinking(sealed: string): string | undefined {
  if (!sealed.startsWith(mark)) return undefined
  try {
    const bytes = base64url.decode(sealed.slice(mark.length))
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    // Ours never has one: it is written by hand, and no tokenizer takes it.
    return text.includes('\0') ? undefined : text
  } catch {
    return undefined
  }
}
