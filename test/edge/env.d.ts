import type { D1Migration } from 'cloudflare:test'
import type { Env as GatewayEnv } from '../../src/env.ts'

declare global {
  namespace Cloudflare {
    interface Env extends GatewayEnv {
      KEY_SECRET_PREVIOUS: string
      FLEET_SECRET_PREVIOUS: string
      TEST_MIGRATIONS: D1Migration[]
      FUZZ_RUNS: string
      FUZZ_SEED: string
    }
  }
}
