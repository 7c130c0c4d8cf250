/**
 * Writes an answer as OpenAI's Responses: items that are added, filled and done, each event with its sequence number.
 *
 * Thinking is a separate item, with its text or, if the client requests a summary, with the same text as the summary. A
 * client that sends hidden thinking back, with `store: false`, also requests it as encrypted content.
 */
import type { AnswerEnd } from '../answer-events.ts'
import type { DialectWriter, EncoderContext, StoredResponse } from '../dialect.ts'
import type { Body } from './body.ts'
import { type OutputForm, OutputStream } from './output-stream.ts'
import { endedFields, failedFields, resourceOf } from './resource.ts'

export function responsesWriter(wire: Body, input: unknown[], context: EncoderContext): DialectWriter {
  const form = formOf(wire, context.requestId)
  const { responseId } = form
  const output = new OutputStream(form)
  const nowS = () => Math.floor(context.now() / 1_000)
  const createdAt = nowS()
  let opened = false
  /** The events that close the last item, and the time of the end. */
  let ending: { events: string; completedAt: number } | undefined

  const resource = (state: object) => ({
    ...resourceOf(wire, responseId, createdAt, context),
    output: output.items,
    ...state,
  })

  /** Closes the last item once: the answer may be stored before its end is written. */
  function finish(end: AnswerEnd) {
    ending ??= {
      events: output.finish(end.finishReason === 'length' ? 'incomplete' : 'completed'),
      completedAt: nowS(),
    }
    return ending
  }

  function ended(end: AnswerEnd, kept: boolean): object {
    return resource(endedFields(wire, end, kept, finish(end).completedAt))
  }

  function open(): string {
    opened = true
    const fields = { response: resource({}) }
    return output.write({ type: 'response.created', fields }) + output.write({ type: 'response.in_progress', fields })
  }

  return {
    open,
    part(part) {
      switch (part.kind) {
        case 'beat':
          return ': working on the prompt\n\n'
        case 'text':
          return output.text(part)
        case 'call':
          return output.call(part)
      }
    },
    ...(wire.store !== false && {
      toStore(end: AnswerEnd): StoredResponse {
        const previousId = wire.previous_response_id ?? undefined
        const body = ended(end, true)
        return { responseId, previousId, input, output: output.items, body }
      },
    }),
    close(end, kept) {
      const { events } = finish(end)
      const type = end.finishReason === 'length' ? 'response.incomplete' : 'response.completed'
      return events + output.write({ type, fields: { response: ended(end, kept) } })
    },
    whole: ended,
    fail(failure) {
      const begun = opened ? '' : open()
      const fields = { response: resource(failedFields(failure)) }
      return begun + output.write({ type: 'response.failed', fields })
    },
  }
}

function formOf(wire: Body, requestId: string): OutputForm {
  const tools = wire.tools ?? []
  const custom = tools.flatMap((tool) => ('name' in tool && tool.type === 'custom' ? [tool.name] : []))
  return {
    responseId: requestId.replace(/^req_/, 'resp_'),
    summarised: (wire.reasoning?.summary ?? wire.reasoning?.generate_summary ?? 'none') !== 'none',
    sealed: wire.include?.includes('reasoning.encrypted_content') ?? false,
    customTools: new Set(custom),
  }
}
