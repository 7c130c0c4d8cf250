/** `GET /v1/models`: what this gateway offers, in the shape that OpenAI's and Mistral's SDKs read. */
import { findModel, type Model } from '../backends/protocol/model.ts'
import { GatewayError } from './errors.ts'

/** When the catalogue was written, in Unix seconds; SDKs want an integer here. */
const created = 1_773_619_200

export function listModels(offered: readonly string[]) {
  return { object: 'list', data: offered.flatMap((id) => findModel(id) ?? []).map(card) }
}

export function showModel(offered: readonly string[], id: string) {
  const model = offered.includes(id) ? findModel(id) : undefined
  if (!model)
    throw new GatewayError('model_not_found', `model "${id}" is not served here: use ${offered.join(' or ')}`, {
      param: 'model',
    })
  return card(model)
}

function card(model: Model) {
  return {
    id: model.id,
    object: 'model',
    created,
    owned_by: 'tramontane',
    // Mistral's SDK drops a card without these two.
    type: 'base',
    capabilities: { completion_chat: true, function_calling: true, vision: model.vision, reasoning: true },
    description: model.description,
    max_context_length: model.contextTokens,
    reasoning_efforts: model.efforts,
    toy: model.toy,
  }
}
