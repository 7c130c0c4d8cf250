/** `npm run clients:python` as a test. TRAMONTANE_TEST_PYTHON=1 allows it to install 400 MB of Python packages. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const program = fileURLToPath(new URL('../tools/clients/run.ts', import.meta.url))

describe.skipIf(!process.env.TRAMONTANE_TEST_PYTHON)('Python clients', () => {
  it('[CLI9] published Python clients work: a chat, a stream, a tool call with its result, structured output, a wrong key', async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [program]).catch((error: unknown) =>
      Promise.reject(new Error(String((error as { stdout?: string }).stdout))),
    )
    expect(stdout).toContain('all clients work')
  }, 1_800_000)
})
