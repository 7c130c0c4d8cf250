/** The refusal of a run that its own rules or sampling values ended: the cause, and what to change. */
import type { Chat } from '../../backends/model/chat.ts'
import type { EngineRefusal } from './engine.ts'
import type { Rules } from './messages.ts'

export function runRefusal(reason: 'failed' | 'costly', chat: Chat, rules: Rules): EngineRefusal {
  const param = paramOf(chat, rules)
  if (reason === 'costly')
    return invalid(param, 'the rules of this request take too long to check for each token. Use a simpler schema')
  if (param === 'temperature')
    return invalid(param, 'no token can be chosen with these sampling values. Use 0, or 0.1 and more')
  return invalid(
    param,
    'the rules of this request leave no token that could follow. Use a simpler schema or another temperature',
  )
}

/** The field that binds the answer. */
function paramOf(chat: Chat, { content, call }: Rules): string {
  if (content)
    return chat.toolChoice.kind === 'required' || chat.toolChoice.kind === 'named' ? 'tools' : 'response_format'
  return call ? 'tools' : 'temperature'
}

function invalid(param: string, reason: string): EngineRefusal {
  return { ok: false, code: 'invalid_value', message: `${param}: ${reason}.`, param }
}
