/** Stands in for the internet and the PDF reader: the address of a document says how its reading ends. */
import { setTimeout as delay } from 'node:timers/promises'
import { needsReading } from '../../../backends/model/media.ts'
import type { MediaReader } from '../../../gpu-worker/media/resolver.ts'

export function createResolver(): MediaReader {
  const kept = new Set<string>()
  const dropped = new Set<string>()
  return {
    async read(chat, { owner }, signal) {
      for (const { url } of parts(chat)) {
        const { searchParams } = new URL(url)
        await delay(Number(searchParams.get('ms')), undefined, { signal })
        if (searchParams.has('missing'))
          return { ok: false, code: 'invalid_value', message: 'messages: the document cannot be fetched', param: null }
        // The memory of the worker is limited: a document may be dropped before its dispatch comes.
        if (!searchParams.has('large') || dropped.has(url)) kept.add(`${owner} ${url}`)
        dropped.add(url)
      }
      return { ok: true, chat }
    },
    async kept(chat, { owner }) {
      if (parts(chat).every(({ url }) => kept.has(`${owner} ${url}`))) return { ok: true, chat }
      return { ok: false, code: 'media_missing', message: 'the media must be read first' }
    },
  }
}

function parts(chat: Parameters<MediaReader['kept']>[0]): { url: string }[] {
  return chat.messages.flatMap(({ content }) =>
    content.flatMap((part) => ('url' in part && needsReading(part) ? [part] : [])),
  )
}
