/** What the engines of a model can serve, by the heartbeats of their workers. */
import { effortWords } from '../../backends/model/effort.ts'
import type { ServedCapabilities } from '../../backends/wire/heartbeat.ts'
import type { FleetState } from './state.ts'

export interface EngineCapabilities extends ServedCapabilities {
  vision: boolean
}

/** An older worker does not report its capabilities. Its engine refuses what it cannot serve. */
const unreported: ServedCapabilities = {
  ...{ efforts: [...effortWords], tools: true, forcedTool: true, jsonObject: true, jsonSchema: true, prefix: true },
  stopsMax: Number.MAX_SAFE_INTEGER,
}

/** The distinct capabilities of the model's registered workers, in any state. Empty if there is no worker. */
export function capabilitiesOf({ workers }: FleetState, model: string): EngineCapabilities[] {
  const distinct = new Map<string, EngineCapabilities>()
  for (const { heartbeat } of workers.values()) {
    if (heartbeat.model !== model) continue
    const { capabilities = unreported, vision } = heartbeat
    const engine = { ...capabilities, vision }
    distinct.set(JSON.stringify(engine), engine)
  }
  return [...distinct.values()]
}
