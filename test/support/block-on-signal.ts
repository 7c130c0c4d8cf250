/**
 * Preload module for a worker under test: SIGUSR2 blocks its event loop, as a bug in the worker could. It does nothing
 * in other processes and in threads.
 */
import { isMainThread } from 'node:worker_threads'

const blockMs = 60_000

if (isMainThread && process.argv[1]?.endsWith('gpu-worker/main.ts')) {
  process.on('SIGUSR2', () => {
    for (const until = Date.now() + blockMs; Date.now() < until; );
  })
}
