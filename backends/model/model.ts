/**
 * The models that a gateway may offer, as data. One product, one model: Mistral Small 4; beside it the toy of the same
 * architecture that the first run serves, so that nobody takes its answers for the real model's.
 */
import type { EffortWord } from './effort.ts'

export interface Model {
  id: string
  /** One sentence for listings. */
  description: string
  /** The longest prompt plus output, in tokens. A worker may serve less and then says so itself. */
  contextTokens: number
  /** Output bound when the client names none, in tokens. */
  outputTokensDefault: number
  /** Effort levels the model knows, least thinking first. */
  efforts: readonly EffortWord[]
  effortDefault: EffortWord
  /** UTF-8 bytes per prompt token, on the low side: what the first reservation is sized by. The worker counts exactly. */
  bytesPerToken: number
  vision: boolean
  /** True for a model that exists to show that the system works. */
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
      'A toy of 14 million parameters in the architecture of Mistral Small 4. It shows the system and knows nothing.',
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

/** What Small 4's makers advise where the client names no temperature: 0.7 with thinking, 0 to 0.7 without. */
export const temperatureDefault = { high: 0.7, none: 0.3 }
