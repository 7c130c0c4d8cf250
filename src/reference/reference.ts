/** `/openapi.json`, `/docs`, `/llms.txt`, and `/`, which leads there: the reference, told for the address that it is asked at. */
import { type Context, Hono } from 'hono'
import { type Env, settings } from '../env.ts'
import { llmsText } from './llms.ts'
import { openapi } from './openapi.ts'
import { page, style } from './page.ts'
import type { Place } from './quickstarts.ts'

export const reference = new Hono<{ Bindings: Env }>()

reference.get('/', (context) => context.redirect('/docs'))

reference.get('/openapi.json', (context) =>
  context.json(openapi(originOf(context)), 200, { 'access-control-allow-origin': '*' }),
)

reference.get('/docs', async (context) => {
  const { place, offered } = await placeOf(context)
  const body = await page(place, offered)
  return context.html(body, 200, { 'content-security-policy': await policy(), 'x-content-type-options': 'nosniff' })
})

reference.get('/llms.txt', async (context) => {
  const { place, offered } = await placeOf(context)
  return context.text(llmsText(place, offered))
})

function originOf(context: Context): string {
  return new URL(context.req.url).origin
}

async function placeOf(context: Context<{ Bindings: Env }>): Promise<{ place: Place; offered: readonly string[] }> {
  const { models } = await settings(context.env)
  return { place: { origin: originOf(context), model: models[0] ?? '' }, offered: models }
}

/** Nothing but its own style, by its hash: no script runs there, whatever a text on the page says. */
async function policy(): Promise<string> {
  const hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(style))
  const base64 = btoa(String.fromCharCode(...new Uint8Array(hash)))
  return `default-src 'none'; style-src 'sha256-${base64}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`
}
