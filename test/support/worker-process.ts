/**
 * A real worker in its own process, with a scripted engine. A word in the prompt selects a fault of its preparation.
 * The worker reports each preparation to the test, so that a second dispatch of one request is seen.
 *
 *   "hang"     the preparation ends only when it is aborted
 *   "block"    the worker's event loop is blocked
 *   "die"      the process is killed
 *   "throw"    the engine throws an unexpected exception
 *   "rules N"  the request's own rules end the run after N tokens
 */
import type { Chat } from '../../backends/model/chat.ts'
import type { EffortWord } from '../../backends/model/effort.ts'
import { readConfig } from '../../gpu-worker/config.ts'
import type { EngineRefusal, Prepared } from '../../gpu-worker/engine/engine.ts'
import { createWorker } from '../../gpu-worker/worker.ts'
import { EngineRefused, ScriptedEngine } from './scripted-engine.ts'

export type Report = { kind: 'ready'; url: string } | { kind: 'prepare' | 'aborted'; text: string }

const report = (message: Report) => process.send?.(message)
const rules = {
  ok: false,
  code: 'invalid_value',
  message: 'response_format: no token could follow',
  param: null,
} as const

class FaultyEngine extends ScriptedEngine {
  override async prepare(chat: Chat, effort: EffortWord, signal?: AbortSignal): Promise<Prepared | EngineRefusal> {
    const first = chat.messages.at(-1)?.content[0]
    const text = first?.kind === 'text' ? first.text : ''
    report({ kind: 'prepare', text })
    if (text.includes('hang') || text.includes('die')) {
      if (text.includes('die')) setTimeout(() => process.kill(process.pid, 'SIGKILL'), 300)
      await new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)))
    }
    signal?.addEventListener('abort', () => report({ kind: 'aborted', text }))
    if (text.includes('block')) for (;;);
    if (text.includes('throw')) throw new TypeError('unexpected')
    const after = Number(/rules (\d+)/.exec(text)?.[1] ?? Number.NaN)
    this.words = 6
    this.step = async (index) => {
      if (index === after) throw new EngineRefused(rules, index > 0)
    }
    return super.prepare(chat, effort)
  }
}

const engine = new FaultyEngine()
engine.description = { ...engine.description, contextTokens: 262_144, slotsMax: 16 }
engine.outputTokensFit = 32_768
const log = (line: string) => process.stderr.write(`${line}\n`)
const worker = await createWorker(readConfig(process.env), {
  ...{ engine, now: () => Date.now(), callId: () => '123456789', log },
})
process.on('disconnect', () => process.exit(0))
report({ kind: 'ready', url: await worker.start() })
