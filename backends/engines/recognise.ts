/**
 * Finds the adapter of an endpoint: makes all adapters' `attach` calls at once; the first adapter that matches wins.
 */
import type { Attached, HttpBackend, HttpCall, Probe } from '../contract/backend.ts'
import { httpBackends } from './registry.ts'

export interface Recognised {
  backend: HttpBackend
  attached: Attached
}

/** @param among adapters in order of preference; the result is `undefined` if none of them matches */
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
