/**
 * The output of one answer: its items, the open one of them, and the sequence of its events. Only `write` numbers and
 * serialises an event.
 */
import type { AnswerPart } from '../answer-events.ts'
import { callEvents, itemEvent, type OutputEvent, partEvent, textDelta, textDone } from './output-events.ts'
import {
  customCall,
  emptyMessage,
  emptyReasoning,
  filledItem,
  functionCall,
  type OutputItem,
  type OutputStatus,
  type TextItem,
} from './output-items.ts'

export interface OutputForm {
  responseId: string
  /** The client requested reasoning as a summary. */
  summarised: boolean
  /** The client requested reasoning as encrypted content too. */
  sealed: boolean
  /** Names of the tools whose calls are one free text. */
  customTools: ReadonlySet<string>
}

type TextPart = Extract<AnswerPart, { kind: 'text' }>
type CallPart = Extract<AnswerPart, { kind: 'call' }>

export class OutputStream {
  readonly items: OutputItem[] = []
  readonly #form: OutputForm
  #sequence = 0
  /** The text item that deltas fill, which is the last item. */
  #open: { item: TextItem; text: string } | undefined

  constructor(form: OutputForm) {
    this.#form = form
  }

  /** Joins texts, because copying the fields into one object takes a fifth longer. No event is without fields. */
  write({ type, fields }: OutputEvent): string {
    const numbered = `{"type":"${type}","sequence_number":${this.#sequence++},${JSON.stringify(fields).slice(1)}`
    return `event: ${type}\ndata: ${numbered}\n\n`
  }

  text({ channel, text }: TextPart): string {
    const type = channel === 'reasoning' ? 'reasoning' : 'message'
    if (this.#open?.item.type === type) return this.#fill(this.#open, text)
    const ended = this.finish('completed')
    const open = { item: this.#emptyItem(type), text: '' }
    this.#open = open
    const index = this.items.push(open.item) - 1
    const added =
      this.write(itemEvent('added', open.item, index)) + this.write(partEvent('added', open.item, index, ''))
    return ended + added + this.#fill(open, text)
  }

  call({ id, name, arguments: json }: CallPart): string {
    const ended = this.finish('completed')
    const item = this.#form.customTools.has(name)
      ? customCall(this.#newId('ctc'), `call_${id}`, name, json)
      : functionCall(this.#newId('fc'), `call_${id}`, name, json)
    const index = this.items.push(item) - 1
    return ended + this.#writeAll(callEvents(item, index))
  }

  /** Closes the open item. */
  finish(status: OutputStatus): string {
    if (!this.#open) return ''
    const { item, text } = this.#open
    this.#open = undefined
    const index = this.items.length - 1
    const done = filledItem(item, text, status, this.#form.sealed)
    this.items[index] = done
    return this.#writeAll([
      textDone(done, index, text),
      partEvent('done', done, index, text),
      itemEvent('done', done, index),
    ])
  }

  #fill(open: { item: TextItem; text: string }, text: string): string {
    open.text += text
    return this.write(textDelta(open.item, this.items.length - 1, text))
  }

  #emptyItem(type: TextItem['type']): TextItem {
    return type === 'message'
      ? emptyMessage(this.#newId('msg'))
      : emptyReasoning(this.#newId('rs'), this.#form.summarised)
  }

  #newId(prefix: string): string {
    return `${prefix}_${this.#form.responseId.slice(5)}${this.items.length.toString(16).padStart(4, '0')}`
  }

  #writeAll(events: readonly OutputEvent[]): string {
    return events.map((event) => this.write(event)).join('')
  }
}
