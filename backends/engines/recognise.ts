/** Finds out which backend an endpoint is: every adapter's questions asked at once, the first that knows it wins. */
import type { Attached, HttpBackend, HttpCall, Probe } from '../contract/backend.ts'
import { httpBackends } from './registry.ts'

export interface Recognised {
  backend: HttpBackend
  attached: Attached
}

/** @param among in order of preference; `undefined` from it: something may listen there, but none of these */
export function recognise(among: readonly HttpBackend[] = httpBackends): Probe<Recognised | undefined> {
  const keyOf = (call: HttpCall) => `${call.method} ${call.path} ${call.body ?? ''}`
  const calls = new Map(among.flatMap(({ attach }) => attach.calls.map((call) => [keyOf(call), call] as const)))
  const keys = [...calls.keys()]
  return {
    calls: [...calls.values()],
    read(answers) {
      for (const backend of among) {
        const own = backend.attach.calls.map((call) => answers[keys.indexOf(keyOf(call))] ?? null)
        const attached = backend.attach.read(own)
        if (attached) return { backend, attached }
      }
      return undefined
    },
  }
}
