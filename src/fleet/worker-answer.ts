/** Reads a worker's JSON response. A compromised worker must not fill the memory that all tenants share. */

/** Rejects if the body is longer than `bytesMax` or is not JSON. Does not read the rest of a longer body. */
export async function readWorkerAnswer(response: Response, bytesMax: number): Promise<unknown> {
  const parts: Uint8Array[] = []
  let length = 0
  // Leaving the loop cancels the stream.
  for await (const part of response.body ?? []) {
    length += part.byteLength
    if (length > bytesMax) throw new Error(`the worker's response is longer than ${bytesMax} bytes`)
    parts.push(part)
  }
  const decoder = new TextDecoder()
  const text = parts.map((part) => decoder.decode(part, { stream: true })).join('')
  return JSON.parse(text + decoder.decode())
}
