/** One signed batch of meter events to a tenant's endpoint. Answers why it was not taken, or undefined when it was. */
import { signedHeaders } from './event.ts'

const answerWithinMs = 10_000

export async function deliverBatch(
  url: string,
  secret: Uint8Array<ArrayBuffer>,
  id: string,
  events: unknown[],
  now: number,
): Promise<string | undefined> {
  const body = JSON.stringify({ events })
  // A timer of our own: that of AbortSignal.timeout runs on when the answer is there, and keeps the object from resting.
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(new Error(`no answer within ${answerWithinMs / 1_000} s`)), answerWithinMs)
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(await signedHeaders(secret, id, now, body)) },
      body,
      // A redirect would lead where nobody checked.
      redirect: 'manual',
      signal: late.signal,
    })
    await response.body?.cancel()
    return response.ok ? undefined : `the endpoint answered ${response.status}`
  } catch (error) {
    return `the endpoint could not be reached: ${error instanceof Error ? error.message : error}`.slice(0, 200)
  } finally {
    clearTimeout(timer)
  }
}
