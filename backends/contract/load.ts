import type { Health, Load, Probe } from './backend.ts'
import { get } from './http-call.ts'
import { readMetrics } from './prometheus.ts'

/** 200 means ready, 503 means that the engine loads its model. */
export const healthByStatus: Probe<Health> = {
  calls: [get('/health')],
  read: ([answer]) => (answer?.status === 200 ? 'ready' : answer?.status === 503 ? 'starting' : 'down'),
}

/**
 * Load from Prometheus metrics that begin with `prefix:`. A figure lists its names in different versions, newest first;
 * the list is empty if the engine does not report it.
 */
export function loadByMetrics(prefix: string, names: Record<keyof Load, readonly string[]>): Probe<Load> {
  return {
    calls: [get('/metrics')],
    read([answer]) {
      const metrics = readMetrics(answer?.status === 200 ? answer.body : '')
      const of = (figure: keyof Load) => {
        const name = names[figure].find((each) => metrics.has(`${prefix}:${each}`))
        return name === undefined ? null : (metrics.get(`${prefix}:${name}`) ?? null)
      }
      return {
        running: of('running'),
        waiting: of('waiting'),
        kvUsed: of('kvUsed'),
        promptTokensTotal: of('promptTokensTotal'),
        cachedTokensTotal: of('cachedTokensTotal'),
        outputTokensTotal: of('outputTokensTotal'),
      }
    },
  }
}

/** For an engine that does not report its load. */
export const noLoad: Probe<Load> = {
  calls: [],
  read: () => ({
    running: null,
    waiting: null,
    kvUsed: null,
    promptTokensTotal: null,
    cachedTokensTotal: null,
    outputTokensTotal: null,
  }),
}
