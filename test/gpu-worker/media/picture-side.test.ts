import { describe, expect, it } from 'vitest'
import { imageTokens } from '../../../backends/model/image.ts'
import { pdfBounds, pdfPicturesMax } from '../../../gpu-worker/media/pdf.ts'
import { pictureSide } from '../../../gpu-worker/media/picture-side.ts'

const a4 = { width: 595, height: 842 }
const square = { width: 600, height: 600 }
const poster = { width: 100, height: 3_000 }
const { tokensMax, sideMin, sideMax } = pdfBounds.pictures

function tokens(pages: readonly { width: number; height: number }[], side: number): number {
  return pages.reduce((sum, { width, height }) => {
    const longest = Math.max(1, width, height)
    return sum + imageTokens((width * side) / longest, (height * side) / longest)
  }, 0)
}

describe('the resolution of page pictures', () => {
  it('[MED39] up to twelve pages of A4 have the resolution of the model', () => {
    expect(pictureSide([a4], pdfBounds.pictures)).toBe(1_540)
    expect(pictureSide(Array(12).fill(a4), pdfBounds.pictures)).toBe(1_540)
    expect(pictureSide(Array(13).fill(a4), pdfBounds.pictures)).toBeLessThan(1_540)
    expect(pictureSide([], pdfBounds.pictures)).toBe(1_540)
  })

  it.each([
    ['A4', a4],
    ['square', square],
    ['thin', poster],
    ['empty', { width: 0, height: 0 }],
  ])('[MED39] pictures of %s pages stay within the budget of tokens, at the largest side that does', (_, page) => {
    for (let count = 1; count <= pdfPicturesMax; count++) {
      const pages = Array(count).fill(page)
      const side = pictureSide(pages, pdfBounds.pictures)
      expect(side).toBeGreaterThanOrEqual(sideMin)
      expect(side).toBeLessThanOrEqual(sideMax)
      expect(tokens(pages, side)).toBeLessThanOrEqual(tokensMax)
      if (side < sideMax) expect(tokens(pages, side + 28)).toBeGreaterThan(tokensMax)
    }
  })
})
