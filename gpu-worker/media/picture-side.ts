/** The resolution of a document's page pictures. */
import { imageTokens } from '../../backends/model/image.ts'

interface PageSize {
  width: number
  height: number
}

export interface PictureBounds {
  /** Tokens of all pictures of one document. `sideMin` may exceed it. */
  tokensMax: number
  /** The longest side of a picture, in pixels. */
  sideMin: number
  sideMax: number
}

/** One row or column of tokens, in pixels. */
const step = 28

/**
 * The longest side of every picture, in pixels: the model's own resolution for a few pages, and less for many, so that
 * a long document still fits in a context.
 * @param pages sizes of the pages that get a picture, in any unit
 */
export function pictureSide(pages: readonly PageSize[], { tokensMax, sideMin, sideMax }: PictureBounds): number {
  for (let side = sideMax; side > sideMin; side -= step) if (tokensAt(pages, side) <= tokensMax) return side
  return sideMin
}

function tokensAt(pages: readonly PageSize[], side: number): number {
  return pages.reduce((sum, { width, height }) => {
    const scale = side / Math.max(1, width, height)
    return sum + imageTokens(width * scale, height * scale)
  }, 0)
}
