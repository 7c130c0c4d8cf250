import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  attachedRules,
  type EngineLife,
  embeddedRules,
  initial,
  type LifeEffect,
  type LifeEvent,
  type LifeRules,
  launchedRules,
  live,
  stateOf,
} from '../../../gpu-worker/engine/lifecycle.ts'

const loaded: LifeEvent = { kind: 'loaded' }
const finished: LifeEvent = { kind: 'finished' }
const killed: LifeEvent = { kind: 'exited', death: { code: null, signal: 'SIGKILL' } }
const aborted: LifeEvent = { kind: 'exited', death: { code: null, signal: 'SIGABRT' } }
const aborted134: LifeEvent = { kind: 'exited', death: { code: 134, signal: null } }

const file = embeddedRules('m.gguf')
const launched = launchedRules('vllm', () => 'CUDA out of memory')
const attached = attachedRules('vllm', 'http://127.0.0.1:8000')

function play(...events: LifeEvent[]): { life: EngineLife; effects: LifeEffect[] } {
  return playBy(file, ...events)
}
function playBy(rules: LifeRules, ...events: LifeEvent[]): { life: EngineLife; effects: LifeEffect[] } {
  return events.reduce((state, event) => live(state.life, event, rules), initial)
}
const kinds = (effects: LifeEffect[]) => effects.map(({ kind }) => kind)

describe('lifecycle', () => {
  it('[ENG15] a death fails the open runs and restarts the engine', () => {
    const { life, effects } = play(loaded, killed)
    expect(life.kind).toBe('restarting')
    expect(effects).toEqual([
      { kind: 'failRuns', reason: 'the engine ended unexpectedly (SIGKILL)' },
      { kind: 'spawn', afterMs: 100 },
    ])
    expect(play(loaded, killed, loaded).life.kind).toBe('ready')
  })

  it('[ENG15] the delay doubles with each death in a row up to ten seconds, and finished requests reset it', () => {
    const waits: number[] = []
    let life = play(loaded).life
    for (let death = 0; death < 9; death++) {
      const exited = live(life, killed, file)
      waits.push(...exited.effects.flatMap((effect) => (effect.kind === 'spawn' ? [effect.afterMs] : [])))
      life = live(exited.life, loaded, file).life
    }
    expect(waits).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000])
    for (let index = 0; index < 3; index++) life = live(life, finished, file).life
    expect(live(life, killed, file).effects).toContainEqual({ kind: 'spawn', afterMs: 100 })
  })

  it('[ENG16] a file that ends the engine twice while it loads is refused with its path', () => {
    expect(play(aborted).life.kind).toBe('starting')
    const { life, effects } = play(aborted, aborted134)
    expect(life).toEqual({
      kind: 'failed',
      reason:
        'The model file m.gguf is refused: the engine ended 2 times with it, last while it loaded (exit code 134).',
    })
    expect(kinds(effects)).toEqual(['kill', 'failRuns', 'startFailed'])
  })

  it('[ENG16] native aborts in the first requests count, also across a restart', () => {
    expect(play(loaded, finished, aborted, loaded, finished, aborted134).life.kind).toBe('failed')
    expect(play(loaded, aborted, aborted).life.kind).toBe('failed')
  })

  it('[ENG16] a file is not refused for aborts after three finished requests', () => {
    const proven = [loaded, finished, finished, finished]
    expect(play(...proven, aborted, loaded, aborted).life.kind).toBe('restarting')
    expect(play(...proven, aborted, ...proven, aborted, ...proven, aborted).life.kind).toBe('restarting')
  })

  it('[ENG16] a kill signal from outside does not count against the file', () => {
    expect(play(loaded, killed, loaded, killed, loaded, killed).life.kind).toBe('restarting')
  })

  it('[ENG14] a file that the library refuses is refused at once', () => {
    const { life, effects } = play({ kind: 'refused', reason: 'unknown quantization' })
    expect(life).toEqual({ kind: 'failed', reason: 'The model file m.gguf cannot be served: unknown quantization.' })
    expect(kinds(effects)).toContain('startFailed')
  })

  it('[ENG15] nothing starts after the engine was closed', () => {
    const closed = play(loaded, { kind: 'close' })
    expect(kinds(closed.effects)).toEqual(['kill', 'failRuns'])
    expect(live(closed.life, killed, file)).toEqual({ life: { kind: 'closed' }, effects: [] })
  })

  const stalled: LifeEvent = { kind: 'stalled', reason: 'did not answer 3 health checks in a row' }

  it('[SUP1] an engine that stops answering is ended and its runs fail, and another one starts only after it has ended', () => {
    const ending = playBy(launched, loaded, stalled)
    expect(ending.effects).toEqual([
      { kind: 'failRuns', reason: 'the engine did not answer 3 health checks in a row' },
      { kind: 'kill' },
    ])
    expect(stateOf(ending.life)).toBe('restarting')
    // Later messages do not revive it, and it is not ended twice.
    for (const event of [loaded, stalled, finished]) expect(live(ending.life, event, launched).life).toBe(ending.life)
    const ended = live(ending.life, killed, launched)
    expect(ended.life.kind).toBe('restarting')
    expect(ended.effects).toContainEqual({ kind: 'spawn', afterMs: 500 })
  })

  it('[SUP2] an engine that was never ready is given up after two attempts, one that worked after five failures in a row', () => {
    const { life, effects } = playBy(launched, killed, stalled, killed)
    expect(life).toEqual({
      kind: 'failed',
      reason:
        'The engine vllm ended 2 times, last while it loaded (did not answer 3 health checks in a row), and is not restarted. Its output: CUDA out of memory.',
    })
    expect(kinds(effects)).toEqual(['kill', 'startFailed'])
    const worked = [loaded, killed, killed, killed, killed, killed]
    expect(playBy(launched, ...worked).life.kind).toBe('restarting')
    expect(playBy(launched, ...worked, killed).life.kind).toBe('failed')
  })

  it('[SUP3] an attached engine must answer at the start, and may be absent afterwards for any time', () => {
    const away: LifeEvent[] = [{ kind: 'stalled', reason: 'did not answer within 10 s' }, killed]
    expect(playBy(attached, ...away).life).toEqual({
      kind: 'failed',
      reason:
        'The engine vllm at http://127.0.0.1:8000 did not answer within 10 s. Start it first, or correct TRAMONTANE_ENGINE_URL.',
    })
    const long = Array.from({ length: 50 }, () => away).flat()
    const { life, effects } = playBy(attached, loaded, ...long)
    expect(life.kind).toBe('restarting')
    expect(effects).toContainEqual({ kind: 'spawn', afterMs: 5_000 })
    expect(live(life, loaded, attached).life.kind).toBe('ready')
  })

  it('[SUP4] a requested restart counts as no failure and has no delay', () => {
    const { life, effects } = playBy(launched, loaded, { kind: 'restart' }, killed)
    expect(life).toEqual({ kind: 'restarting', earlyDeaths: 0, deaths: 0 })
    expect(effects).toEqual([{ kind: 'spawn', afterMs: 0 }])
  })

  it('[SUP5] in any sequence of events no engine starts while another one lives, and none starts after the end', () => {
    const events: LifeEvent[] = [
      ...[loaded, finished, killed, aborted, stalled],
      ...([{ kind: 'restart' }, { kind: 'refused', reason: 'too old' }, { kind: 'close' }] as LifeEvent[]),
    ]
    fc.assert(
      fc.property(fc.constantFrom(file, launched, attached), fc.array(fc.nat(events.length * 20)), (rules, picks) => {
        // The shell's behaviour: a killed process exits, and a running one may exit by itself.
        let { life } = initial
        let [living, over, started] = [true, false, 0]
        for (const pick of picks) {
          const event = events[pick % events.length] as LifeEvent
          if (event.kind === 'exited') {
            if (!living) continue
            living = false
          }
          if (!living && (event.kind === 'loaded' || event.kind === 'finished' || event.kind === 'stalled')) continue
          if (!living && event.kind === 'restart') continue
          const step = live(life, event, rules)
          life = step.life
          for (const effect of step.effects) {
            if (effect.kind === 'started' && over) throw new Error('started after its end')
            if (effect.kind !== 'spawn') continue
            expect(living || over).toBe(false)
            living = true
            started += 1
          }
          over ||= life.kind === 'failed' || life.kind === 'closed'
          if (over) expect(['failed', 'closed']).toContain(stateOf(life))
        }
        expect(started).toBeLessThanOrEqual(picks.length)
      }),
      { numRuns: 500 },
    )
  })
})
