import type { Load, Probe } from './backend.ts'

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
