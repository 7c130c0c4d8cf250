import { describe, expect, it } from 'vitest'
import { born, type Life, type LifeEffect, type LifeEvent, live } from '../../../gpu-worker/engine/lifecycle.ts'

const loaded: LifeEvent = { kind: 'loaded' }
const finished: LifeEvent = { kind: 'finished' }
const killed: LifeEvent = { kind: 'exited', death: { code: null, signal: 'SIGKILL' } }
const aborted: LifeEvent = { kind: 'exited', death: { code: null, signal: 'SIGABRT' } }
const aborted134: LifeEvent = { kind: 'exited', death: { code: 134, signal: null } }

function play(...events: LifeEvent[]): { life: Life; effects: LifeEffect[] } {
  return events.reduce((state, event) => live(state.life, event, 'm.gguf'), born)
}
const kinds = (effects: LifeEffect[]) => effects.map(({ kind }) => kind)

describe('lifecycle', () => {
  it('[ENG15] a death fails the open runs and starts the engine again', () => {
    const { life, effects } = play(loaded, killed)
    expect(life.kind).toBe('restarting')
    expect(effects).toEqual([
      { kind: 'failRuns', reason: 'the engine ended unexpectedly (SIGKILL)' },
      { kind: 'spawn', afterMs: 100 },
    ])
    expect(play(loaded, killed, loaded).life.kind).toBe('ready')
  })

  it('[ENG15] deaths in a row wait longer and longer, up to ten seconds; finished requests forget them', () => {
    const waits: number[] = []
    let life = play(loaded).life
    for (let death = 0; death < 9; death++) {
      const exited = live(life, killed, 'm.gguf')
      waits.push(...exited.effects.flatMap((effect) => (effect.kind === 'spawn' ? [effect.afterMs] : [])))
      life = live(exited.life, loaded, 'm.gguf').life
    }
    expect(waits).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000])
    for (let index = 0; index < 3; index++) life = live(life, finished, 'm.gguf').life
    expect(live(life, killed, 'm.gguf').effects).toContainEqual({ kind: 'spawn', afterMs: 100 })
  })

  it('[ENG16] a file that ends the engine twice while loading is refused by name', () => {
    expect(play(aborted).life.kind).toBe('starting')
    const { life, effects } = play(aborted, aborted134)
    expect(life).toEqual({
      kind: 'failed',
      reason:
        'The model file m.gguf is refused: it ended the engine 2 times, last while it was loaded (exit code 134).',
    })
    expect(kinds(effects)).toEqual(['kill', 'failRuns', 'startFailed'])
  })

  it('[ENG16] native aborts in the first requests count, also across a restart', () => {
    expect(play(loaded, finished, aborted, loaded, finished, aborted134).life.kind).toBe('failed')
    expect(play(loaded, aborted, aborted).life.kind).toBe('failed')
  })

  it('[ENG16] a file that has shown that it works is not refused for later aborts', () => {
    const proven = [loaded, finished, finished, finished]
    expect(play(...proven, aborted, loaded, aborted).life.kind).toBe('restarting')
    expect(play(...proven, aborted, ...proven, aborted, ...proven, aborted).life.kind).toBe('restarting')
  })

  it('[ENG16] being killed from outside is not the file’s fault', () => {
    expect(play(loaded, killed, loaded, killed, loaded, killed).life.kind).toBe('restarting')
  })

  it('[ENG14] what the library refuses is refused at once', () => {
    const { life, effects } = play({ kind: 'refused', reason: 'unknown quantization' })
    expect(life).toEqual({ kind: 'failed', reason: 'The model file m.gguf cannot be served: unknown quantization.' })
    expect(kinds(effects)).toContain('startFailed')
  })

  it('[ENG15] after close nothing starts again', () => {
    const closed = play(loaded, { kind: 'close' })
    expect(kinds(closed.effects)).toEqual(['kill', 'failRuns'])
    expect(live(closed.life, killed, 'm.gguf')).toEqual({ life: { kind: 'closed' }, effects: [] })
  })
})
