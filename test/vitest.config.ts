/**
 * Three test environments in one run: plain Node for cores and the worker, workerd for the edge, the whole product for
 * e2e.
 */
import { fileURLToPath } from 'node:url'
import { cloudflareTest, readD1Migrations } from '@cloudflare/vitest-plugin'
import { defineConfig } from 'vitest/config'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Files that compare times. They run last and one at a time: CI has two cores, and a second file would disturb them. */
const timed = {
  node: [
    'test/backends/model/{history,media,partial-json,schema-texts,unused-fields}.test.ts',
    'test/gpu-worker/engine/{embedded,hostile,linear,schema-budget,side-by-side,tekken}.test.ts',
    'test/gpu-worker/{port,outbox,worker}.test.ts',
    'test/http/body-memory.test.ts',
  ],
  e2e: ['test/e2e/{attack,departure,media-storm}.test.ts'],
}
const node = { testTimeout: 30_000 }
const e2e = { setupFiles: ['test/e2e/watch.ts'], testTimeout: 120_000, hookTimeout: 120_000 }
/** Most files wait more than they compute. */
const together = { maxWorkers: 2, sequence: { groupOrder: 0 } }
const alone = { maxWorkers: 1, sequence: { groupOrder: 1 } }

export default defineConfig({
  root,
  test: {
    // With `--coverage`. Processes that a test starts are not counted: the e2e project adds nothing.
    coverage: {
      // V8's own coverage does not run in workerd.
      provider: 'istanbul',
      include: ['src/**/*.ts', 'backends/**/*.ts', 'gpu-worker/**/*.ts'],
      exclude: ['src/docs/generated/**'],
      reporter: ['text-summary', 'json-summary', 'html'],
      reportsDirectory: `${root}/.tramontane/coverage`,
    },
    projects: [
      {
        root,
        test: {
          ...{ name: 'node', ...node, ...together },
          include: ['test/*.test.ts', 'test/!(edge|e2e)/**/*.test.ts'],
          exclude: timed.node,
        },
      },
      { root, test: { name: 'node-timed', ...node, ...alone, include: timed.node } },
      {
        root,
        plugins: [
          cloudflareTest({
            wrangler: { configPath: `${root}/wrangler.toml` },
            miniflare: {
              bindings: {
                KEY_SECRET: 'k'.repeat(40),
                KEY_SECRET_PREVIOUS: 'p'.repeat(40),
                FLEET_SECRET: 'f'.repeat(40),
                FLEET_SECRET_PREVIOUS: 'q'.repeat(40),
                // SHA-256 of "tmop_test"
                OPERATOR_KEY_SHA256: '0096feaee8cb21719caaadc7b7495c3c3b49a4177c3756931dc0b962326c795e',
                MODELS: 'tramontane-tiny',
                METER_LOOPBACK: 'allow',
                // No key of a real account.
                STRIPE_SECRET_KEY: 'sk_test_gateway',
                STRIPE_WEBHOOK_SECRET: 'whsec_gateway',
                // Number of runs and seed of the receipt fuzzer; empty for its defaults.
                FUZZ_RUNS: process.env.FUZZ_RUNS ?? '',
                FUZZ_SEED: process.env.FUZZ_SEED ?? '',
                TEST_MIGRATIONS: await readD1Migrations(`${root}/src/admin/migrations`),
              },
            },
          }),
        ],
        test: {
          name: 'edge',
          include: ['test/edge/**/*.test.ts'],
          setupFiles: ['test/edge/migrate.ts'],
          testTimeout: 30_000,
          ...together,
        },
      },
      { root, test: { name: 'e2e', ...e2e, ...together, include: ['test/e2e/**/*.test.ts'], exclude: timed.e2e } },
      { root, test: { name: 'e2e-timed', ...e2e, ...alone, include: timed.e2e } },
    ],
  },
})
