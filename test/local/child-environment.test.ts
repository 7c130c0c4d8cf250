/** The environment of the processes that `npm start` starts. */
import { describe, expect, it } from 'vitest'
import { childEnvironment } from '../../src/local/child-environment.ts'

describe('a child process', () => {
  it('[ENV1] a child gets the variables that programs and engines need, and only the secrets named for it', () => {
    const secrets = {
      HOSTED_KEY: 'a',
      STRIPE_SECRET_KEY: 's',
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
    const environment = { ...secrets, ...needed, TRAMONTANE_ENGINE_KEY: 'k' }
    expect(childEnvironment(environment, [], own)).toEqual({ ...needed, ...own })
    const passed = childEnvironment(environment, ['TRAMONTANE_ENGINE_KEY'], own)
    expect(passed).toEqual({ ...needed, ...own, TRAMONTANE_ENGINE_KEY: 'k' })
  })
})
