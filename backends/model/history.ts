/**
 * The one form of a history that every engine accepts, and for which all engines have the same prompt.
 *
 * Engines with Mistral's own tokenizer refuse histories that agents send: instructions after an answer, calls without
 * results after an interruption, empty turns. `normaliseHistory` changes only what mistral-common 1.13.1 refuses, and what
 * would lose the tools and settings: they precede the first user message. The result of a normalised history is the same
 * history.
 *
 * The edge normalises when it prepares a request, and the worker when it reads a dispatch: the edge passes bodies of Chat
 * Completions on unchanged, and both get the same history. So the estimate, the prefix hashes, the warnings and the
 * engines agree. Linear in the history.
 */
import type { AssistantTurn, Chat, Message, Part, ToolCall } from './chat.ts'
import { mergeParts } from './merge-turns.ts'
import { type CallSlot, toolResults } from './tool-results.ts'

export const noResultText = '[no result: the call was interrupted]'
export const orphanText = '[result of a tool call that is not in this conversation]\n'

/** What was changed at a message. The texts are for the client, behind the paths of the messages. */
const changeTexts = {
  emptyTurn: 'an assistant message without text, reasoning and calls was left out',
  lateSystem:
    'instructions directly after an answer or a result were moved behind the next user message, or sent as a user message',
  noResult: `a call has no result, so it got "${noResultText}"`,
  movedResult: 'a result was moved directly behind its call',
  repeatedResult: 'a further result of one call was joined with the first, or left out because it is the same',
  orphanResult: 'a result without a call was sent as a user message',
  sameId: 'calls of one turn have the same id, so their results were assigned in order',
  joinedTurn: 'an assistant message was joined with the one before, because the results of its calls follow',
  prefix: 'prefix was ignored: only the last message can be continued, and only without tool calls',
  answerLast: 'the last message is an answer without "prefix", so an empty user message was added',
  noUser: 'an empty user message was added at the beginning, because tools and settings need one',
} as const
type ChangeKind = keyof typeof changeTexts

export interface NormalisedHistory {
  messages: Message[]
  /** For each message, the index of the message that it comes from. */
  sources: number[]
  /** Texts for the client; one for each kind of change. */
  warnings: string[]
}

/** @param pathOf the path of a message in the client's body, by index */
export function normaliseHistory(
  messages: readonly Message[],
  pathOf: (index: number) => string = (index) => `messages[${index}]`,
): NormalisedHistory {
  const history = new History(messages)
  for (const [index, message] of messages.entries()) history.take(message, index)
  history.end()
  const warnings = [...history.changes].map(([kind, at]) => `${paths(at, pathOf)}: ${changeTexts[kind]}`)
  return { messages: history.messages, sources: history.sources, warnings }
}

export function normaliseChat(chat: Chat): Chat {
  return { ...chat, messages: normaliseHistory(chat.messages).messages }
}

/** Whether the prompt of a history ends within thinking: its last message is a prefix that ends with open thinking. */
export function endsInThinking(messages: readonly Message[]): boolean {
  const last = messages.at(-1)
  if (last?.role !== 'assistant' || !last.prefix || last.toolCalls.length > 0) return false
  const part = last.content.findLast((each) => each.kind !== 'text' || each.text !== '')
  return part?.kind === 'thinking' && !part.closed
}

const pathsShown = 3

function paths(at: ReadonlySet<number>, pathOf: (index: number) => string): string {
  const shown = [...new Set([...at].slice(0, pathsShown).map(pathOf))].join(', ')
  return at.size > pathsShown ? `${shown} and ${at.size - pathsShown} more` : shown
}

type System = Extract<Message, { role: 'system' }>

/** A turn that later messages may still join. Its lists grow in place, so that many messages join in linear time. */
interface OpenTurn {
  contents: AssistantTurn['content'][]
  calls: ToolCall[]
  slots: CallSlot[]
  prefix: boolean
  /** The first message, and the last that joined it. */
  source: number
  lastIndex: number
  /** The first result of its calls; infinite without one. */
  firstResult: number
}

class History {
  readonly messages: Message[] = []
  readonly sources: number[] = []
  readonly changes = new Map<ChangeKind, Set<number>>()
  readonly #all: readonly Message[]
  readonly #slots
  readonly #orphans
  #turn: OpenTurn | undefined
  /** Instructions after an answer, which wait for a user message. */
  #held: { message: System; index: number }[] = []
  /** The last message that is not a result, for each message that is one. */
  readonly #before: number[] = []

  constructor(messages: readonly Message[]) {
    this.#all = messages
    const { slots, orphans } = toolResults(messages)
    this.#slots = slots
    this.#orphans = orphans
    let before = -1
    for (const [index, { role }] of messages.entries()) {
      this.#before.push(before)
      if (role !== 'tool') before = index
    }
  }

  take(message: Message, index: number): void {
    switch (message.role) {
      case 'assistant':
        this.#takeAssistant(message, index)
        break
      case 'tool':
        // The others follow their calls.
        if (this.#orphans.has(index)) this.#takeOrphan(message.content, index)
        break
      case 'system':
        this.#takeSystem(message, index)
        break
      case 'user':
        this.#takeUser(message, index)
    }
  }

  end(): void {
    this.#closeTurn()
    this.#heldAsUser()
    const last = this.messages.at(-1)
    if (last?.role === 'assistant' && !last.prefix) {
      const source = this.sources.at(-1) ?? 0
      this.#changed('answerLast', source)
      this.#add({ role: 'user', content: [] }, source)
    }
    this.#needUser()
  }

  #takeAssistant(message: AssistantTurn, index: number): void {
    const { content, toolCalls, prefix } = message
    const last = index === this.#all.length - 1
    const continued = prefix && last && toolCalls.length === 0
    if (prefix && !continued) this.#changed('prefix', index)
    // The reference counts an empty text as nothing, and empty thinking as something.
    if (toolCalls.length === 0 && content.every((part) => part.kind === 'text' && part.text === '')) {
      this.#changed('emptyTurn', index)
      return
    }
    const slots = this.#slots.get(index) ?? []
    // A list may be too long for the arguments of one call, here and below.
    const firstResult = slots.reduce((least, { results: [first = none] }) => Math.min(least, first), none)
    const turn = this.#turn
    // A turn's calls whose results all follow this message: then this message is a part of that turn.
    if (turn && turn.firstResult > index && turn.firstResult !== none) {
      this.#changed('joinedTurn', index)
      turn.contents.push(content)
      for (const call of toolCalls) turn.calls.push(call)
      for (const slot of slots) turn.slots.push(slot)
      turn.lastIndex = index
      turn.firstResult = Math.min(turn.firstResult, firstResult)
      return
    }
    this.#closeTurn()
    this.#heldAsUser()
    const lists = { contents: [content], calls: [...toolCalls], slots: [...slots] }
    this.#turn = { ...lists, prefix: continued, source: index, lastIndex: index, firstResult }
  }

  #closeTurn(): void {
    const turn = this.#turn
    if (!turn) return
    this.#turn = undefined
    const { contents, prefix, source, slots } = turn
    const [only] = contents
    const content = only && contents.length === 1 ? only : mergeParts(contents)
    const toolCalls = this.#differentIds(turn)
    this.#add({ role: 'assistant', content, toolCalls, prefix }, source)
    for (const [at, { id }] of toolCalls.entries()) this.#addResult(id, slots[at]?.results ?? [], turn)
  }

  #addResult(toolCallId: string, results: readonly number[], { source, lastIndex }: OpenTurn): void {
    const [first] = results
    if (first === undefined) {
      this.#changed('noResult', source)
      this.#add({ role: 'tool', toolCallId, content: noResult }, source)
      return
    }
    if (results.some((index) => this.#before[index] !== lastIndex)) this.#changed('movedResult', first)
    if (results.length > 1) this.#changed('repeatedResult', first)
    const contents = results.map((index) => (this.#all[index]?.content ?? []) as Part[])
    const only = contents.length === 1 ? contents[0] : undefined
    this.#add({ role: 'tool', toolCallId, content: only ?? joined(contents) }, first)
  }

  /** An engine finds the results of a call by its id. */
  #differentIds({ calls, source }: OpenTurn): ToolCall[] {
    const used = new Set(calls.map(({ id }) => id))
    if (used.size === calls.length) return calls
    this.#changed('sameId', source)
    const seen = new Set<string>()
    const numbers = new Map<string, number>()
    return calls.map((call) => {
      if (!seen.has(call.id)) {
        seen.add(call.id)
        return call
      }
      const start = call.id.slice(0, idCharactersKept)
      let number = numbers.get(start) ?? 2
      while (used.has(`${start}#${number}`)) number++
      numbers.set(start, number + 1)
      return { ...call, id: `${start}#${number}` }
    })
  }

  #takeOrphan(content: readonly Part[], index: number): void {
    this.#changed('orphanResult', index)
    this.#takeUser({ role: 'user', content: [{ kind: 'text', text: orphanText }, ...content] }, index)
  }

  #takeSystem(message: System, index: number): void {
    this.#closeTurn()
    const last = this.messages.at(-1)?.role
    if (last === 'assistant' || last === 'tool') {
      this.#changed('lateSystem', index)
      this.#held.push({ message, index })
    } else this.#add(message, index)
  }

  #takeUser(message: Message, index: number): void {
    this.#closeTurn()
    this.#add(message, index)
    for (const held of this.#held) this.#add(held.message, held.index)
    this.#held = []
  }

  #heldAsUser(): void {
    for (const { message, index } of this.#held) this.#add({ role: 'user', content: message.content }, index)
    this.#held = []
  }

  #needUser(): void {
    // The reference does not see the calls of a turn at the very beginning, and refuses their results.
    const calls = this.#leadingAssistants().some(({ toolCalls }) => toolCalls.length > 0)
    if (!calls && this.messages.some(({ role }) => role === 'user')) return
    const after = this.messages.findIndex(({ role }) => role !== 'system')
    const at = after < 0 ? this.messages.length : after
    this.#changed('noUser', 0)
    this.messages.splice(at, 0, { role: 'user', content: [] })
    this.sources.splice(at, 0, this.sources[at] ?? this.sources[at - 1] ?? 0)
  }

  #leadingAssistants(): AssistantTurn[] {
    const end = this.messages.findIndex(({ role }) => role !== 'assistant')
    return this.messages.slice(0, Math.max(0, end)).filter((message) => message.role === 'assistant')
  }

  #add(message: Message, source: number): void {
    this.messages.push(message)
    this.sources.push(source)
  }

  #changed(kind: ChangeKind, index: number): void {
    const at = this.changes.get(kind)
    if (at) at.add(index)
    else this.changes.set(kind, new Set([index]))
  }
}

const none = Number.POSITIVE_INFINITY
const noResult: Part[] = [{ kind: 'text', text: noResultText }]
/** A body may hold ids of at most 256 characters. */
const idCharactersKept = 240

/** The results of one call, those with the same text once, with blank lines between. */
function joined(contents: readonly (readonly Part[])[]): Part[] {
  const seen = new Set<string>()
  const different = contents.filter((content) => {
    const key = JSON.stringify(content)
    return !seen.has(key) && seen.add(key)
  })
  return mergeParts(different)
}
