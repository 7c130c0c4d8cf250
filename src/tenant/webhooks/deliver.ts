/** Sends one signed batch of usage events to a tenant's endpoint. Returns the failure, or undefined on success. */
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
  // Not AbortSignal.timeout: its timer keeps running after the response, which keeps the object from hibernating.
  const late = new AbortController()
  const timer = setTimeout(
    () => late.abort(new Error(`no response within ${answerWithinMs / 1_000} s`)),
    answerWithinMs,
  )
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(await signedHeaders(secret, id, now, body)) },
      body,
      // A redirect would lead to a URL that was not checked.
      redirect: 'manual',
      signal: late.signal,
    })
    await response.body?.cancel()
    return response.ok ? undefined : `the endpoint returned ${response.status}`
  } catch (error) {
    return `cannot reach the endpoint: ${error instanceof Error ? error.message : error}`.slice(0, 200)
  } finally {
    clearTimeout(timer)
  }
}
