/**
 * Preload that gives a process another protocol version: `--import=file:///…/protocol-version.ts?version=4`. Only the
 * constant changes, so the process behaves as a later or an earlier release would.
 */
import { registerHooks } from 'node:module'

const version = new URL(import.meta.url).searchParams.get('version')
const constant = /(?<=export const protocolVersion = )\d+/

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context)
    if (!url.endsWith('/backends/wire/protocol.ts')) return loaded
    const source =
      typeof loaded.source === 'string' ? loaded.source : new TextDecoder().decode(loaded.source ?? undefined)
    if (version === null || !constant.test(source)) throw new Error('the version of the protocol is not set')
    return { ...loaded, source: source.replace(constant, version) }
  },
})
