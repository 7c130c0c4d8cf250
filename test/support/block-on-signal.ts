/**
 * A preload for a worker under test: SIGUSR2 blocks its event loop, as a fault in the worker's own code would. In any
 * other process, and in threads, it does nothing.
 */
import { isMainThread } from 'node:worker_threads'

const blockMs = 60_000

if (isMainThread && process.argv[1]?.endsWith('gpu-worker/main.ts')) {
  process.on('SIGUSR2', () => {
    for (const until = Date.now() + blockMs; Date.now() < until; );
  })
}
