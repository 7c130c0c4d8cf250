/** The draft model of a launched engine, from `TRAMONTANE_DRAFT_MODEL`. */
import type { LaunchSettings } from '../backends/contract/backend.ts'
import { checkpointOf, smallFour, smallFourDraft } from './gpu/checkpoints.ts'

/** For a profile without speculation, in which the operator names a draft. */
const tokensDefault = 3

/**
 * Off unless the operator names a draft model: it makes JSON and tool calls slower. `eagle` is that of Small 4.
 * @param tokens that the draft proposes in one step, by the profile
 */
export function speculationOf(
  named: string | undefined,
  tokens: number,
  model: string,
  replica: Pick<LaunchSettings, 'quantisation' | 'gpuCapability'>,
): LaunchSettings['speculation'] {
  if (named === undefined || named === 'off') return null
  if (named === 'eagle' && !checkpointOf(model))
    throw new Error(
      `TRAMONTANE_DRAFT_MODEL: eagle is the draft model of ${smallFour} on vLLM and SGLang, not of ${model}. Name a draft model of this model, or remove the variable.`,
    )
  const draftModel = named === 'eagle' ? smallFourDraft.model : named
  const published = draftModel === smallFourDraft.model
  if (published) checkKernel(replica)
  return {
    draftModel,
    tokens: tokens === 0 ? tokensDefault : tokens,
    contextTokens: published ? smallFourDraft.contextTokens : null,
  }
}

/** Speculation on the Triton kernel crashes or is slow: vllm#51848, vllm#52218, sglang#27367. */
function checkKernel({ quantisation, gpuCapability }: Pick<LaunchSettings, 'quantisation' | 'gpuCapability'>): void {
  const hopper = gpuCapability === null || Math.floor(gpuCapability) === 9
  if (quantisation !== 'nvfp4' && hopper) return
  throw new Error(
    'TRAMONTANE_DRAFT_MODEL: speculation with the EAGLE draft crashes on NVFP4 and on GPUs other than Hopper, whose attention kernel is Triton. Remove the variable.',
  )
}
