/**
 * Whether anybody sees. A model may take images while the engines that serve it do not (no projector was loaded, or the
 * engine has none), and a request must not be reserved, queued and dispatched to find that out. Only requests with
 * images ask, and they ask once.
 */

import type { ParsedRequest } from '../dialects/dialect.ts'
import { fleetOf } from '../fleet/client.ts'
import type { RequestContext } from './context.ts'
import { type PreparedRequest, withoutImages } from './prepare.ts'

/** The request as it is where some worker sees, or none is up; else what is left of it, or a refusal of its image. */
export async function checkVision(
  context: RequestContext,
  parsed: ParsedRequest,
  prepared: PreparedRequest,
): Promise<PreparedRequest> {
  if (prepared.media.images === 0) return prepared
  const { workers } = await fleetOf(context.env).view()
  const serving = workers.filter(({ model }) => model === prepared.model.id)
  const seen = serving.length === 0 || serving.some(({ vision }) => vision)
  return seen ? prepared : withoutImages(parsed, prepared)
}
