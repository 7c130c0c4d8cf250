/**
 * Fits a request to the engines of the fleet before anything is reserved; see needs.ts. This avoids a reservation, a
 * wait and a dispatch that end in a refusal. An isolate remembers for a few seconds what some engine supports, so most
 * requests make no call for it. Only a current answer of the fleet refuses a request or changes its effort.
 */
import { budgets } from '../../backends/model/budgets.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import type { ParsedRequest } from '../dialects/dialect.ts'
import { fieldIn } from '../dialects/field-names.ts'
import { fleetOf } from '../fleet/client.ts'
import type { EngineCapabilities } from '../fleet/engine-capabilities.ts'
import { GatewayError } from '../http/errors.ts'
import type { RequestContext } from './context.ts'
import { type EngineFit, fitEngines, type Need, needsOf } from './needs.ts'
import { type PreparedRequest, withoutImages } from './prepare.ts'

/** Returns the request unchanged if an engine can serve it, or no worker is registered. */
export async function fitFleet(
  context: RequestContext,
  parsed: ParsedRequest,
  prepared: PreparedRequest,
  now: number,
): Promise<PreparedRequest> {
  const { model, chat, media, effort } = prepared
  const images = media.images > 0
  const wanted = { needs: needsOf(chat), images, effort: effort.effective, model }
  if (wanted.needs.length === 0 && !images && effort.effective === model.efforts[0]) return prepared
  const suits = (found: EngineFit) =>
    found.kind === 'fits' && found.effort === effort.effective && (found.vision || !images)
  const known = remembered(context, model.id, now)
  if (known && suits(fitEngines(known, wanted))) return prepared
  const engines = await fleetOf(context.env).capabilities(model.id)
  remember(context, model.id, engines, now)
  if (engines.length === 0) return prepared
  const found = fitEngines(engines, wanted)
  if (found.kind === 'lacks') throw lacks(context, prepared, found.need, found.together)
  const seen = images && !found.vision ? withoutImages(parsed, prepared) : prepared
  return found.effort === effort.effective ? seen : withEffort(context, seen, found.effort)
}

function lacks(context: RequestContext, { model }: PreparedRequest, { field, what, advice }: Need, others: boolean) {
  const param = fieldIn(context.dialect, field)
  const together = others ? ' together with the other fields of this request' : ''
  const message = `${param}: no engine of ${model.id} supports ${what}${together} at the moment. ${advice}`
  return new GatewayError('invalid_value', message, { param })
}

/** A tenant that rejects unsupported efforts gets its refusal with the admission, which compares the two values. */
function withEffort({ dialect }: RequestContext, prepared: PreparedRequest, effective: EffortWord): PreparedRequest {
  const { effort, model, warnings } = prepared
  const warning = `${dialect.effortField}: no engine of ${model.id} serves ${effort.effective} at the moment; served with ${effective}`
  return { ...prepared, effort: { ...effort, effective }, warnings: [...warnings, warning] }
}

interface KnownEngines {
  engines: EngineCapabilities[]
  at: number
}

/** By the binding of the fleet, then by model. A gateway offers few models. */
const memory = new WeakMap<object, Map<string, KnownEngines>>()

function remembered({ env }: RequestContext, model: string, now: number): EngineCapabilities[] | undefined {
  const known = memory.get(env.FLEET)?.get(model)
  // A clock that is set back does not extend the time.
  return known && Math.abs(now - known.at) < budgets.capabilitiesKnownMs.value ? known.engines : undefined
}

function remember({ env }: RequestContext, model: string, engines: EngineCapabilities[], at: number): void {
  const models = memory.get(env.FLEET) ?? new Map<string, KnownEngines>()
  models.set(model, { engines, at })
  memory.set(env.FLEET, models)
}
