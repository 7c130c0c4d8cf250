/** What fits into GPUs: checkpoints of vLLM and SGLang, and GGUF files with experts on the CPU. */
import { describe, expect, it } from 'vitest'
import {
  cacheBytesPerToken,
  checkpoints,
  ggufQuantisations,
  ggufSize,
  smallFourLayers,
} from '../../../gpu-worker/gpu/checkpoints.ts'
import { cacheTokens, offloadOf, replicaOf } from '../../../gpu-worker/gpu/fit.ts'
import { type Gpu, readGpuList } from '../../../gpu-worker/gpu/gpus.ts'

function gpusOf(text: string): Gpu[] {
  const list = readGpuList(text)
  if (!list.ok) throw new Error(list.message)
  return list.gpus
}
const [fp8, nvfp4] = checkpoints
if (!fp8 || !nvfp4) throw new Error('expected two checkpoints')

describe('fit', () => {
  it('[PLN4] the context is what the memory, the checkpoint and the cache of a token leave', () => {
    expect(cacheBytesPerToken).toBe(22.5 * 1_024)
    const [h100] = gpusOf('H100-80') as [Gpu]
    // 80 GiB × 0.9, less 4 GB and half of 119 GB.
    expect(cacheTokens(fp8, 2, h100)).toBe(Math.floor((80 * 2 ** 30 * 0.9 - 4e9 - 59.5e9) / 23_040))
    // Every GPU holds the whole cache: twice the GPUs hold more tokens only because each has fewer weights.
    expect(cacheTokens(fp8, 4, h100) - cacheTokens(fp8, 2, h100)).toBe(Math.round((59.5e9 - 29.75e9) / 23_040))
    expect(cacheTokens(fp8, 1, h100)).toBe(-1)
    expect(replicaOf(fp8, gpusOf('2xH100-80'), 262_144)).toMatchObject({ kind: 'fits', size: 2 })
    expect(replicaOf(fp8, gpusOf('H200-141'), 1)).toEqual({ kind: 'too-large' })
    expect(replicaOf(nvfp4, gpusOf('H100-80'), 262_144)).toMatchObject({ kind: 'short', size: 1 })
    expect(replicaOf(nvfp4, [], 1)).toEqual({ kind: 'too-large' })
    // The smallest GPU limits the group.
    expect(replicaOf(fp8, gpusOf('H100-80,L4-24'), 1)).toEqual({ kind: 'too-large' })
  })

  it('[PLN5] the parts of a GGUF are the whole model, and the part of the GPU fits', () => {
    for (const quantisation of ggufQuantisations) {
      const { totalBytes, otherBytes } = ggufSize(quantisation)
      let before = smallFourLayers + 1
      for (const gigabytes of [8, 12, 16, 24, 32, 48, 80, 96, 180]) {
        const gpus = gpusOf(`X-${gigabytes}`)
        const cache = 65_536 * cacheBytesPerToken
        const offload = offloadOf(quantisation, gpus, 65_536)
        if (!offload) throw new Error(`${quantisation} on ${gigabytes} GB`)
        expect(offload.gpuBytes).toBeLessThanOrEqual((gpus[0] as Gpu).memoryBytes)
        expect(offload.gpuBytes + offload.cpuBytes).toBeCloseTo(totalBytes + cache, -3)
        expect(offload.gpuBytes).toBeGreaterThanOrEqual(otherBytes + cache)
        expect(offload.cpuLayers).toBeLessThanOrEqual(before)
        before = offload.cpuLayers
      }
    }
    // Each quantisation of the list is smaller than the one before it.
    const sizes = ggufQuantisations.map((quantisation) => ggufSize(quantisation).totalBytes)
    expect(sizes).toEqual(sizes.toSorted((one, other) => other - one))
    expect(offloadOf('IQ2_XXS', gpusOf('X-4'), 65_536)).toBeUndefined()
    expect(offloadOf('Q8_0', [], 1)).toBeUndefined()
  })
})
