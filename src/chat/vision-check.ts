/**
 * Checks whether any worker supports images. A model may support images while its engines do not (no projector loaded,
 * or no vision in the engine). This check avoids a reservation, a wait and a dispatch that end in a refusal. Only
 * requests with images make it, once.
 */

import type { ParsedRequest } from '../dialects/dialect.ts'
import { fleetOf } from '../fleet/client.ts'
import type { RequestContext } from './context.ts'
import { type PreparedRequest, withoutImages } from './prepare.ts'

/**
 * Returns the request unchanged if a worker supports images, or none is up. Otherwise warns about images in tool
 * results and refuses the client's images.
 */
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
