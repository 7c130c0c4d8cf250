/** How an engine tells its health and its load, in the ways that several engines share. */

import { get } from '../engines/openai/body.ts'
import type { Health, Load, Probe } from './backend.ts'
import { readMetrics } from './prometheus.ts'

/** 200 when it is ready, 503 while it loads its model. */
export const healthByStatus: Probe<Health> = {
  calls: [get('/health')],
  read: ([answer]) => (answer?.status === 200 ? 'ready' : answer?.status === 503 ? 'starting' : 'down'),
}

/**
 * By its Prometheus metrics, which all begin with `prefix:`. Several names of one figure are those of its versions, the
 * newest first; none where it tells no such figure.
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

/** For an engine that tells nothing of its load. */
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
