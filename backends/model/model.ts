/**
 * The models that a gateway can offer: Mistral Small 4, and a toy model of the same architecture for the first run. The
 * toy model has its own name, so that no client mistakes its answers for those of Small 4.
 */
import type { EffortWord } from './effort.ts'

export interface Model {
  id: string
  /** One sentence for listings. */
  description: string
  /** The longest prompt plus output, in tokens. A worker may serve less and reports its own limit. */
  contextTokens: number
  /** Output bound when the client sets none, in tokens. */
  outputTokensDefault: number
  /** Effort levels that the model supports, least reasoning first. */
  efforts: readonly EffortWord[]
  effortDefault: EffortWord
  /** UTF-8 bytes per prompt token, a low estimate that sizes the first reservation. The worker counts exactly. */
  bytesPerToken: number
  vision: boolean
  /** True for a model that only demonstrates the system. */
  toy: boolean
}

export const models: readonly Model[] = [
  {
    id: 'mistral-small-4',
    description: 'Mistral Small 4, 119 B parameters, 6 B active: chat, reasoning, agentic coding and vision.',
    contextTokens: 262_144,
    outputTokensDefault: 32_768,
    efforts: ['none', 'high'],
    effortDefault: 'none',
    bytesPerToken: 3,
    vision: true,
    toy: false,
  },
  {
    id: 'tramontane-tiny',
    description:
      'A toy model of 14 million parameters with the architecture of Mistral Small 4. It only demonstrates the system.',
    contextTokens: 4_096,
    outputTokensDefault: 1_024,
    efforts: ['none', 'high'],
    effortDefault: 'none',
    bytesPerToken: 2,
    vision: false,
    toy: true,
  },
]

export function findModel(id: string): Model | undefined {
  return models.find((model) => model.id === id)
}

/** Used when the client sets no temperature. Mistral recommends 0.7 with reasoning and 0 to 0.7 without. */
export const temperatureDefault = { high: 0.7, none: 0.3 }
