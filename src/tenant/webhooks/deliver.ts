/** Sends one signed message to a webhook’s endpoint. */
import { retryAfterMsOf, signedHeaders } from './event.ts'

const answerWithinMs = 10_000

export interface WebhookMessage {
  url: string
  /** Each signs the message: two while a secret is being rotated. */
  secrets: readonly Uint8Array<ArrayBuffer>[]
  /** The same for every retry. */
  id: string
  body: string
}

export interface DeliveryFault {
  text: string
  /** How long the endpoint asks to wait, in milliseconds; 0 if it does not say. */
  retryAfterMs: number
  /** The endpoint answered 410: it wants no more messages. */
  gone: boolean
}

/** Returns the failure, or undefined on success. Never throws. */
export async function deliver(message: WebhookMessage, now: number): Promise<DeliveryFault | undefined> {
  const { url, secrets, id, body } = message
  // Not AbortSignal.timeout: its timer keeps running after the response, which keeps the object from hibernating.
  const late = new AbortController()
  const timer = setTimeout(
    () => late.abort(new Error(`no response within ${answerWithinMs / 1_000} s`)),
    answerWithinMs,
  )
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(await signedHeaders(secrets, id, now, body)) },
      body,
      // A redirect would lead to a URL that was not checked.
      redirect: 'manual',
      signal: late.signal,
    })
    await response.body?.cancel()
    if (response.ok) return undefined
    return {
      text: `the endpoint returned ${response.status}`,
      retryAfterMs: retryAfterMsOf(response.headers.get('retry-after'), now),
      gone: response.status === 410,
    }
  } catch (error) {
    const text = `cannot reach the endpoint: ${error instanceof Error ? error.message : error}`.slice(0, 200)
    return { text, retryAfterMs: 0, gone: false }
  } finally {
    clearTimeout(timer)
  }
}
