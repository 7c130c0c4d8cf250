/**
 * The constraint on a run's next token: a state machine over thinking, content and tool calls.
 *
 *   open ──think──▶ thinking ──think end──▶ open
 *    │ ╲──call───▶ calling ──args──▶ arguments ──complete──▶ free, again or closed
 *    ▼
 *   content ──complete──▶ closed
 *
 * A prompt that ends within thinking begins in `thinking`.
 *
 * open: the grammar is pending, but thinking or a call may come first. free: no grammar; thinking and calls still change
 * the mode. A forced call begins in `content`, whose grammar is then the token of a call; `again` allows one more call.
 *
 * In `open` the next token is first sampled without the grammar. If it starts thinking or a call, it is kept; if not,
 * the same logits are sampled again with the grammar. So the model may still choose, and content matches the grammar.
 */
import type { Grammar, Rules } from './messages.ts'

export type Mode = 'open' | 'thinking' | 'free' | 'content' | 'calling' | 'arguments' | 'again' | 'closed'

export function firstMode(rules: Rules): Mode {
  if (rules.inThinking) return 'thinking'
  if (!rules.content) return 'free'
  return escapes(rules, false).length > 0 ? 'open' : 'content'
}

/** Ids that may be sampled instead of content in `open`. */
export function escapes(rules: Rules, thought: boolean): number[] {
  const ids: number[] = []
  if (rules.mayThink && !thought) ids.push(rules.thinkId)
  if (rules.callId !== null && rules.call) ids.push(rules.callId)
  return ids
}

/** Returns the mode after `token`. `complete`: the active grammar's text may end here. */
export function nextMode(mode: Mode, token: number, complete: boolean, rules: Rules): Mode {
  if (mode === 'calling') return token === rules.argsId ? 'arguments' : 'calling'
  if (mode === 'arguments') {
    if (!complete) return 'arguments'
    return rules.call?.ends ? 'closed' : rules.again ? 'again' : 'free'
  }
  if (mode === 'thinking') {
    if (token !== rules.thinkEndId) return 'thinking'
    if (!rules.content) return 'free'
    return escapes(rules, true).length > 0 ? 'open' : 'content'
  }
  if (token === rules.callId && rules.call) return 'calling'
  if (mode === 'content') return complete && rules.content?.ends ? 'closed' : 'content'
  return token === rules.thinkId ? 'thinking' : mode
}

/** Returns the grammar that constrains the next token, or null. */
export function grammarOf(mode: Mode, rules: Rules): Grammar | null {
  if (mode === 'content') return rules.content
  if (mode === 'calling' || mode === 'arguments') return rules.call
  return mode === 'again' ? rules.again : null
}

/**
 * Ids that must not be sampled in this mode. If the content has a grammar, the answer must not end during thinking. A
 * grammar matches a control token by the letters of its name, so it would allow one inside a JSON string: a mode with a
 * grammar allows only the control token that leads to the next mode.
 */
export function bannedIn(mode: Mode, rules: Rules): number[] {
  const { bannedIds, endIds, thinkId, thinkEndId, argsId, callId, content, again } = rules
  const call = callId === null ? [] : [callId]
  switch (mode) {
    case 'thinking':
      return [...bannedIds, ...(content ? endIds : []), thinkId, argsId, ...call]
    case 'content':
      return [...bannedIds, thinkId, thinkEndId, argsId, ...(again ? [] : call)]
    case 'again':
      return [...bannedIds, thinkId, thinkEndId, argsId]
    case 'calling':
      return [...bannedIds, thinkId, thinkEndId, ...call]
    case 'arguments':
      return [...bannedIds, thinkId, thinkEndId, argsId, ...call]
    default:
      return [...bannedIds, argsId]
  }
}
