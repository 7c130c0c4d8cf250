/** `/openapi.json`, `/llms.txt`, and the redirect from `/` to the documentation, for the address at which they are read. */
import { type Context, Hono } from 'hono'
import { type Env, settings } from '../env.ts'
import { llmsText } from './llms.ts'
import { openapi } from './openapi.ts'
import type { Place } from './quickstarts.ts'

export const reference = new Hono<{ Bindings: Env }>()

reference.get('/', (context) => context.redirect('/docs'))

reference.get('/openapi.json', (context) =>
  context.json(openapi(originOf(context), 'users'), 200, { 'access-control-allow-origin': '*' }),
)

reference.get('/openapi/operators.json', (context) =>
  context.json(openapi(originOf(context), 'operators'), 200, { 'access-control-allow-origin': '*' }),
)

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
