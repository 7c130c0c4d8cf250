/** Runs before each file of the e2e project: every answer of a product that a test reads must be documented. */
import { afterAll, afterEach, expect } from 'vitest'
import { takeFaults, watchedFetch } from '../support/answer-watch.ts'

globalThis.fetch = watchedFetch

const check = () => expect(takeFaults(), 'answers that the OpenAPI documents forbid').toEqual([])
afterEach(check)
afterAll(check)
