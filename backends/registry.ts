/** The backends there are, by name. One line each. */
import type { Backend, HttpBackend } from './backend.ts'
import { llamaCpp } from './llama-cpp.ts'

/** In the order in which an endpoint is asked whether it is one: the cautious one last. */
export const backends: readonly Backend[] = [llamaCpp]

export function findBackend(name: string): Backend | undefined {
  return backends.find((backend) => backend.name === name)
}

export const httpBackends: readonly HttpBackend[] = backends.filter((backend) => backend.transport === 'http')

/** The root that calls are relative to: what an operator writes, without a trailing slash or `/v1`. */
export function rootOf(url: string): string {
  return url.replace(/\/+$/, '').replace(/\/v1$/, '')
}
