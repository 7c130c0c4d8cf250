/** `GET /v1/models`: the models of this gateway, in the shape of OpenAI's and Mistral's SDKs, or of Anthropic's. */
import { findModel, type Model } from '../../backends/model/model.ts'
import { aliasesOf, type ModelAlias, resolveModel } from '../../backends/model/model-alias.ts'
import { dollars, type Rates } from '../../backends/model/money.ts'
import { GatewayError } from './errors.ts'

/** Date of the catalogue, in Unix seconds; SDKs require an integer here. */
const created = 1_773_619_200

/** The price in force of each model. */
export type ModelRates = ReadonlyMap<string, Rates>

export function listModels(offered: readonly string[], rates: ModelRates) {
  return { object: 'list', data: offered.flatMap((id) => findModel(id) ?? []).map((model) => card(model, rates)) }
}

/** One model by its id or by an older name; the card of an older name also names the model that serves it. */
export function showModel(offered: readonly string[], id: string, rates: ModelRates) {
  const found = resolveModel(id, offered)
  if (!found.ok) throw new GatewayError(found.code, found.message, { param: found.param })
  const { model, alias } = found
  return { ...card(model, rates), ...(alias && aliasCard(alias)) }
}

/** With the field names of Mistral's own model cards. */
function aliasCard({ id, target, deprecatedOn, effort }: ModelAlias) {
  return {
    id,
    root: target,
    ...(deprecatedOn && { deprecation: `${deprecatedOn}T00:00:00Z`, deprecation_replacement_model: target }),
    ...(effort && { reasoning_effort_default: effort }),
  }
}

function card(model: Model, prices: ModelRates) {
  const rates = prices.get(model.id)
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
    aliases: aliasesOf(model.id),
    toy: model.toy,
    pricing: rates ? pricing(rates) : null,
  }
}

/** Dollars per token as decimal strings, as OpenRouter and LiteLLM print them. */
function pricing({ inputNano, cachedNano, outputNano }: Rates) {
  return {
    prompt: dollars(inputNano),
    completion: dollars(outputNano),
    input_cache_read: dollars(cachedNano),
    request: '0',
  }
}

/** In the shape of Anthropic's SDK. One page, because there are few models. */
export function anthropicModels(offered: readonly string[]) {
  const data = offered.flatMap((id) => findModel(id) ?? []).map((model) => anthropicCard(model))
  return { data, has_more: false, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null }
}

export function anthropicModel(offered: readonly string[], id: string) {
  const found = resolveModel(id, offered)
  if (!found.ok) throw new GatewayError(found.code, found.message, { param: found.param })
  return anthropicCard(found.model, found.alias)
}

function anthropicCard(model: Model, alias?: ModelAlias) {
  const supported = (is: boolean) => ({ supported: is })
  const deprecatedAt = alias?.deprecatedOn ? `${alias.deprecatedOn}T00:00:00Z` : null
  return {
    type: 'model',
    id: alias?.id ?? model.id,
    display_name: model.id,
    created_at: new Date(created * 1_000).toISOString(),
    lifecycle: deprecatedAt ? 'deprecated' : 'active',
    deprecated_at: deprecatedAt,
    retires_at: null,
    line: null,
    max_input_tokens: model.contextTokens,
    max_tokens: model.contextTokens,
    capabilities: {
      batch: supported(false),
      citations: supported(false),
      code_execution: supported(false),
      context_management: supported(false),
      // Every effort value is accepted; these are the model's own.
      effort: { supported: true, ...Object.fromEntries(model.efforts.map((effort) => [effort, supported(true)])) },
      image_input: supported(model.vision),
      pdf_input: supported(model.vision),
      server_tools: supported(false),
      structured_outputs: supported(true),
      thinking: { supported: true, types: { adaptive: supported(true), enabled: supported(true) } },
    },
  }
}
