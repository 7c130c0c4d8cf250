import { describe, expect, it } from 'vitest'
import { bannedIn, escapes, firstMode, type Mode, nextMode } from '../../../gpu-worker/engine/constraint.ts'
import type { Rules } from '../../../gpu-worker/engine/messages.ts'

const [think, thinkEnd, callId, argsId, text] = [34, 35, 9, 32, 100]
const json = { text: 'root ::= object', ends: true, stacks: 14 }
const calls = { text: 'root ::= call', ends: false, stacks: 14 }
const free: Rules = {
  endIds: [2],
  bannedIds: [3],
  thinkId: think,
  thinkEndId: thinkEnd,
  callId,
  argsId,
  again: null,
  mayThink: false,
  inThinking: false,
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

  it('[ENG39] a prompt that ends within thinking is continued as thinking, and then the response format applies', () => {
    const rules: Rules = { ...free, content: json, call: null, callId: null, mayThink: true, inThinking: true }
    const modes = ['thinking', 'thinking', 'content', 'closed']
    expect(walk(rules, [text, false], [thinkEnd, false], [text, true])).toEqual(modes)
    expect(walk({ ...free, inThinking: true }, [text, false], [thinkEnd, false])).toEqual([
      'thinking',
      'thinking',
      'free',
    ])
  })

  it('[ENG11] without thinking a response format applies from the first token', () => {
    expect(firstMode({ ...free, content: json, call: null, callId: null })).toBe('content')
  })

  it('[ENG12] a call may replace the response format', () => {
    const rules: Rules = { ...free, content: json }
    const modes = ['open', 'calling', 'calling', 'arguments', 'free']
    expect(walk(rules, [callId, false], [text, false], [argsId, false], [text, true])).toEqual(modes)
  })

  it('[ENG12] the run closes after one call if only one is allowed', () => {
    const single = { ...free, call: { ...calls, ends: true } }
    expect(walk(single, [callId, false], [argsId, false], [text, true])).toEqual([
      'free',
      'calling',
      'arguments',
      'closed',
    ])
    expect(walk(free, [text, false], [callId, false], [argsId, false], [text, true], [callId, false])).toEqual([
      'free',
      'free',
      'calling',
      'arguments',
      'free',
      'calling',
    ])
  })

  it('[ENG12] a forced call begins with the token of a call, after thinking if there is any, and only calls follow', () => {
    const again = { text: 'root ::= <[9]>?', ends: false, stacks: 1 }
    const forced: Rules = { ...free, content: { text: 'root ::= <[9]>', ends: false, stacks: 1 }, again }
    const call: [number, boolean][] = [
      [callId, true],
      [argsId, false],
      [text, true],
    ]
    const modes = ['calling', 'arguments', 'again']
    expect(walk(forced, ...call, ...call)).toEqual(['open', ...modes, ...modes])
    const thinking: [number, boolean][] = [
      [think, false],
      [thinkEnd, false],
    ]
    expect(walk({ ...forced, mayThink: true }, ...thinking, ...call)).toEqual(['open', 'thinking', 'open', ...modes])
    expect(bannedIn('again', forced)).not.toContain(callId)
    expect(bannedIn('content', forced)).not.toContain(callId)
  })

  it('[ENG32] a control token is allowed only where it leads to the next mode', () => {
    expect(bannedIn('calling', free)).toEqual([3, think, thinkEnd, callId])
    expect(bannedIn('arguments', free)).toEqual([3, think, thinkEnd, argsId, callId])
    expect(bannedIn('content', { ...free, content: json })).toEqual([3, think, thinkEnd, argsId, callId])
    expect(bannedIn('free', free)).toEqual([3, argsId])
  })

  it('[ENG11] thinking cannot end an answer with a response format', () => {
    expect(bannedIn('thinking', { ...free, content: json })).toEqual([3, 2, think, argsId, callId])
    expect(bannedIn('thinking', free)).toEqual([3, think, argsId, callId])
  })
})
