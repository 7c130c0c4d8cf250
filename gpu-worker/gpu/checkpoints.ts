/**
 * The published forms of Mistral Small 4, their sizes, and the memory that one token of context takes. Shapes are those
 * of the model's configuration (36 layers, MLA latent of 256 + 64 values, 128 experts of 3 × 4,096 × 2,048).
 */

export const smallFour = 'mistralai/Mistral-Small-4-119B-2603'
export const smallFourGguf = 'unsloth/Mistral-Small-4-119B-2603-GGUF'
/** The two-layer draft model of its recipe for speculation, and the longest sequence that it drafts for. */
export const smallFourDraft = { model: `${smallFour}-eagle`, contextTokens: 65_536 }

const layers = 36
const parameters = 118.97e9
const expertParameters = layers * 128 * 3 * 4_096 * 2_048
const latentValues = 256 + 64
const cacheValueBytes = 2

export const smallFourLayers = layers

/** 22.5 KiB. MLA stores one latent row for each layer; every GPU of a tensor-parallel group holds all of it. */
export const cacheBytesPerToken = layers * latentValues * cacheValueBytes

/** A checkpoint that vLLM and SGLang load. */
export interface Checkpoint {
  model: string
  quantisation: CheckpointQuantisation
  weightsBytes: number
  /** The memory of all GPUs of a replica that the recipe requires. */
  floorBytes: number
}

export const checkpointQuantisations = ['fp8', 'nvfp4'] as const
type CheckpointQuantisation = (typeof checkpointQuantisations)[number]

const gigabyte = 1e9
const gibibyte = 1_073_741_824

export const checkpoints: readonly Checkpoint[] = [
  // The sizes of the files, and the GPU memory that vLLM's recipe requires.
  { model: smallFour, quantisation: 'fp8', weightsBytes: 119 * gigabyte, floorBytes: 143 * gibibyte },
  { model: `${smallFour}-NVFP4`, quantisation: 'nvfp4', weightsBytes: 72 * gigabyte, floorBytes: 72 * gibibyte },
]

export function checkpointOf(model: string): Checkpoint | undefined {
  return checkpoints.find((each) => each.model === model)
}

/**
 * Bits of one parameter. K-quantisations: from the size that llama.cpp reports for Llama 3 8B (8.03 B parameters),
 * in GiB. The others: llama.cpp's own figure. The real file of a mixture of experts may differ by some percent.
 */
const ofEightB = (gib: number) => (gib * gibibyte * 8) / 8.03e9
const ggufBits = {
  Q8_0: ofEightB(7.96),
  Q6_K: ofEightB(6.14),
  Q5_K_M: ofEightB(5.33),
  Q4_K_M: ofEightB(4.58),
  IQ4_XS: 4.25,
  Q3_K_M: ofEightB(3.74),
  Q2_K: ofEightB(2.96),
  IQ3_XXS: 3.06,
  IQ2_XXS: 2.06,
} as const
export type GgufQuantisation = keyof typeof ggufBits
export const ggufQuantisations = Object.keys(ggufBits) as GgufQuantisation[]
export const ggufDefault: GgufQuantisation = 'Q4_K_M'

/** What llama.cpp reports of a quantisation of Llama 3 8B: how much the perplexity rises. Small 4 was not measured. */
export const ggufPerplexity: Readonly<Partial<Record<GgufQuantisation, number>>> = {
  Q8_0: 0.0026,
  Q6_K: 0.0217,
  Q5_K_M: 0.0569,
  Q4_K_M: 0.1754,
  Q3_K_M: 0.6569,
  Q2_K: 3.5199,
}

export interface GgufSize {
  /** The routed experts of one layer. */
  expertBytesPerLayer: number
  /** Embeddings, attention, shared experts: all that each token uses. */
  otherBytes: number
  totalBytes: number
}

/** The part of a layer's routed experts that each token reads: 4 of 128. */
export const expertsRead = 4 / 128

export function ggufSize(quantisation: GgufQuantisation): GgufSize {
  const expertBytesPerLayer = (expertParameters * ggufBits[quantisation]) / 8 / layers
  // Quantisers keep these tensors at a higher precision than the experts, at most 8 bits.
  const otherBytes = ((parameters - expertParameters) * ggufBits.Q8_0) / 8
  return { expertBytesPerLayer, otherBytes, totalBytes: expertBytesPerLayer * layers + otherBytes }
}

export function isGgufQuantisation(word: string): word is GgufQuantisation {
  return Object.hasOwn(ggufBits, word)
}
