/**
 * Whether anybody sees. A model may take images while the engines that serve it do not (no projector was loaded, or the
 * engine has none), and a request must not be reserved, queued and dispatched to find that out. Only requests with
 * images ask, and they ask the pools once.
 */
import { poolNames } from '../../backends/protocol/dispatch.ts'
import type { Line } from '../line.ts'
import { blinded, type Shaped } from '../shaping/shape.ts'
import type { Asked } from '../surfaces/surface.ts'

/** The request as it is where some worker sees, or none is up; else what is left of it, or a refusal of its image. */
export async function withSight(line: Line, asked: Asked, shaped: Shaped): Promise<Shaped> {
  if (shaped.media.images === 0) return shaped
  const views = await Promise.all(poolNames.map((pool) => line.env.POOL.getByName(pool).view()))
  const serving = views.flatMap(({ workers }) => workers).filter(({ model }) => model === shaped.model.id)
  const seen = serving.length === 0 || serving.some(({ vision }) => vision)
  return seen ? shaped : blinded(asked, shaped)
}
