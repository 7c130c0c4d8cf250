/** What the processes that `npm start` begins are given of its environment. */
import { describe, expect, it } from 'vitest'
import { childEnvironment } from '../../src/local/child-environment.ts'

describe('a child process', () => {
  it('[ENV1] it is given what programs and engines need, and of all secrets only those that it is named for', () => {
    const secrets = {
      HOSTED_KEY: 'a',
      CLOUDFLARE_API_TOKEN: 'b',
      AWS_SECRET_ACCESS_KEY: 'c',
      NODE_AUTH_TOKEN: 'd',
      TRAMONTANE_OPERATOR_KEY: 'e',
      DATABASE_URL: 'f',
      HF_TOKEN: 'g',
      LD_SECRET: 'h',
    }
    const needed = {
      PATH: '/bin',
      Path: 'C:/bin',
      HOME: '/h',
      LC_ALL: 'C',
      CUDA_VISIBLE_DEVICES: '0',
      TRAMONTANE_SLOTS: '2',
      NODE_OPTIONS: '--x',
      https_proxy: 'p',
    }
    const own = { TRAMONTANE_WORKER_KEY: 'w' }
    const given = { ...secrets, ...needed, TRAMONTANE_ENGINE_KEY: 'k' }
    expect(childEnvironment(given, [], own)).toEqual({ ...needed, ...own })
    const passed = childEnvironment(given, ['TRAMONTANE_ENGINE_KEY'], own)
    expect(passed).toEqual({ ...needed, ...own, TRAMONTANE_ENGINE_KEY: 'k' })
  })
})
