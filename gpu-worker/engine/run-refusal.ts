/** The refusal of a run that failed because of its own grammar or sampling values: the cause, and what to change. */
import type { Chat } from '../../backends/model/chat.ts'
import type { EngineRefusal } from './engine.ts'
import type { Rules } from './messages.ts'

export function runRefusal(reason: 'failed' | 'costly', chat: Chat, rules: Rules): EngineRefusal {
  const param = paramOf(chat, rules)
  if (reason === 'costly')
    return invalid(param, 'its grammar takes too long to check for each token. Use a simpler schema')
  if (param === 'temperature') return invalid(param, 'no token can be sampled with these values. Use 0, or 0.1 or more')
  return invalid(param, 'no token matches the grammar of this request. Use a simpler schema or another temperature')
}

/** The field that constrains the answer. */
function paramOf(chat: Chat, { content, call }: Rules): string {
  if (content)
    return chat.toolChoice.kind === 'required' || chat.toolChoice.kind === 'named' ? 'tools' : 'response_format'
  return call ? 'tools' : 'temperature'
}

function invalid(param: string, reason: string): EngineRefusal {
  return { ok: false, code: 'invalid_value', message: `${param}: ${reason}.`, param }
}
