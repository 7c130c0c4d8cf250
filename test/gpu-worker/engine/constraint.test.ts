import { describe, expect, it } from 'vitest'
import { bannedIn, escapes, firstMode, type Mode, nextMode } from '../../../gpu-worker/engine/constraint.ts'
import type { Rules } from '../../../gpu-worker/engine/messages.ts'

const [think, thinkEnd, callId, text] = [34, 35, 9, 100]
const json = { text: 'root ::= object', ends: true, stacks: 14 }
const calls = { text: 'root ::= call', ends: false, stacks: 14 }
const free: Rules = {
  endIds: [2],
  bannedIds: [3],
  thinkId: think,
  thinkEndId: thinkEnd,
  callId,
  mayThink: false,
  content: null,
  call: calls,
}

function walk(rules: Rules, ...steps: [token: number, complete: boolean][]): Mode[] {
  const modes = [firstMode(rules)]
  for (const [token, complete] of steps) modes.push(nextMode(modes.at(-1) ?? 'free', token, complete, rules))
  return modes
}

describe('constraint', () => {
  it('[ENG11] a response format applies only after thinking, and the run closes when it is complete', () => {
    const rules: Rules = { ...free, content: json, call: null, callId: null, mayThink: true }
    expect(walk(rules, [think, false], [text, false], [thinkEnd, false], [text, false], [text, true])).toEqual([
      'open',
      'thinking',
      'thinking',
      'content',
      'content',
      'closed',
    ])
    expect(escapes(rules, false)).toEqual([think])
    expect(escapes(rules, true)).toEqual([])
  })

  it('[ENG11] without thinking a response format applies from the first token', () => {
    expect(firstMode({ ...free, content: json, call: null, callId: null })).toBe('content')
  })

  it('[ENG12] a call may replace the response format', () => {
    const rules: Rules = { ...free, content: json }
    expect(walk(rules, [callId, false], [text, false], [text, true])).toEqual(['open', 'calling', 'calling', 'free'])
  })

  it('[ENG12] the run closes after one call if only one is allowed', () => {
    expect(walk({ ...free, call: { ...calls, ends: true } }, [callId, false], [text, true])).toEqual([
      'free',
      'calling',
      'closed',
    ])
    expect(walk(free, [text, false], [callId, false], [text, true], [callId, false])).toEqual([
      'free',
      'free',
      'calling',
      'free',
      'calling',
    ])
  })

  it('[ENG11] thinking cannot end an answer with a response format, and a grammar allows no control token', () => {
    expect(bannedIn('thinking', { ...free, content: json })).toEqual([3, 2])
    expect(bannedIn('thinking', free)).toEqual([3])
    expect(bannedIn('content', { ...free, content: json })).toEqual([3, think, thinkEnd, callId])
  })
})
