/** Tokens of an image by its size in pixels, against mistral-common's. */
import { imageTokens } from '../../../backends/model/image.ts'
import type { Reference, Section, SectionResult } from './section.ts'

export const images: Section = { name: 'images', run }

async function run({ python }: Reference): Promise<SectionResult> {
  const sizes = manySizes()
  const { images: expected } = (await python('reference.py', { images: sizes })) as { images: number[] }
  const faults = sizes.flatMap(([width, height], index) => {
    const ours = imageTokens(width, height)
    const theirs = expected[index]
    return ours === theirs ? [] : [`${width} × ${height} pixels: ${ours} tokens, the reference has ${theirs}`]
  })
  return { lines: [`${sizes.length} sizes: ${faults.length} differ`], faults }
}

/** Small sides, sides with every fraction after scaling, and extreme ratios. */
function manySizes(): [width: number, height: number][] {
  const long = [1_540, 1_541, 1_848, 2_048, 2_200, 3_080, 3_850, 4_096, 4_620, 9_999, 65_535]
  const short = Array.from({ length: 1_400 }, (_, index) => index + 1)
  return long.flatMap((one) =>
    short.flatMap((other): [number, number][] => [
      [one, other],
      [other, one],
    ]),
  )
}
