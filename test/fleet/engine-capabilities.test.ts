import { describe, expect, it } from 'vitest'
import { capabilitiesOf } from '../../src/fleet/engine-capabilities.ts'
import { heartbeat } from '../../src/fleet/registry.ts'
import { emptyFleet } from '../../src/fleet/state.ts'
import { testBeat } from '../support/fleet.ts'

const plain = {
  ...{ efforts: ['none' as const], tools: true, forcedTool: false, jsonObject: false, jsonSchema: false },
  ...{ prefix: false, stopsMax: 4 },
}

describe('capabilities of the engines of a model', () => {
  it('[NED6] equal engines are listed once, and a worker that reports none counts as able to serve every request', () => {
    const fleet = emptyFleet()
    for (const id of ['a', 'b']) heartbeat(fleet, testBeat(id, { capabilities: plain }), 1, 0)
    heartbeat(fleet, testBeat('other', { model: 'n' }), 1, 0)
    expect(capabilitiesOf(fleet, 'm')).toEqual([{ ...plain, vision: false }])
    heartbeat(fleet, testBeat('old', { vision: true }), 1, 0)
    expect(capabilitiesOf(fleet, 'm')[1]).toMatchObject({ vision: true, jsonSchema: true, forcedTool: true })
    expect(capabilitiesOf(fleet, 'm')[1]?.efforts).toContain('high')
    expect(capabilitiesOf(fleet, 'none')).toEqual([])
  })
})
