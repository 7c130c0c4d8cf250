import { describe, expect, it } from 'vitest'
import { firstKey } from './client.ts'
import { checked, fetchGateway } from './gateway.ts'

const json = { 'content-type': 'application/json' }

describe('the check of answers', () => {
  it('[REF7] refuses an answer with a field, a status or a content type that the document does not have', async () => {
    const answer = (body: string, status = 200, headers = json) =>
      checked(new Response(body, { status, headers }), 'GET', '/healthz').text()
    expect(await answer('{"status":"ok"}')).toBe('{"status":"ok"}')
    await expect(answer('{"status":"ok","more":1}')).rejects.toThrow(/forbids.*get \/healthz 200[\s\S]*more/)
    await expect(answer('{"status":5}')).rejects.toThrow(/forbids/)
    await expect(answer('{"status":"ok"}', 201)).rejects.toThrow(/201: the status is not in the document/)
    await expect(answer('ok', 200, { 'content-type': 'text/plain' })).rejects.toThrow(/content type text\/plain/)
    await expect(answer('{"code":"x"}', 500)).rejects.toThrow(/forbids/)
  })

  it('[REF7] is applied to what the tests of routes read', async () => {
    const response = await fetchGateway('https://gateway.test/admin/tenants', {
      headers: { authorization: `Bearer ${firstKey}` },
    })
    expect(Object.hasOwn(response, 'text')).toBe(true)
    expect(await response.json()).toMatchObject({ data: expect.any(Array) })
  })
})
