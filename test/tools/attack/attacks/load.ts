/** Many concurrent requests and disconnects. */
import { type Attack, inTurn, times } from '../attack.ts'

export const loadAttacks: readonly Attack[] = [
  {
    name: 'flood',
    run: (world) => times(300, () => world.chat({ stream: true, max_tokens: 60 }, { leaveMs: 15_000 })),
  },
  {
    name: 'flood-and-leave',
    run: (world) =>
      times(150, (index) =>
        world.chat({ stream: index % 2 === 0, max_tokens: 200 }, { leaveMs: 50 + ((index * 37) % 900) }),
      ),
  },
  {
    name: 'leave-at-once',
    run: (world) => times(150, (index) => world.chat({ stream: true }, { leaveMs: 1 + (index % 10) })),
  },
  {
    name: 'long-prompts',
    run: (world) =>
      times(12, (index) =>
        world.chat(
          { messages: [{ role: 'user', content: `${index} ${'word '.repeat(3_000)}` }], stream: true },
          { leaveMs: 25_000 },
        ),
      ),
  },
  {
    name: 'long-prompts-and-leave',
    run: (world) =>
      times(40, (index) =>
        world.chat(
          { messages: [{ role: 'user', content: `${index} ${'word '.repeat(3_000)}` }] },
          { leaveMs: 200 + index * 20 },
        ),
      ),
  },
  {
    name: 'thinking-flood',
    run: (world) =>
      times(80, () => world.chat({ reasoning_effort: 'high', max_tokens: 200, stream: true }, { leaveMs: 15_000 })),
  },
  {
    name: 'idempotency-race',
    run: (world) => times(30, () => world.chat({}, { headers: { 'idempotency-key': 'the same' } })),
  },
  {
    name: 'idempotency-keys',
    run: (world) =>
      inTurn(4, (index) =>
        world.chat(
          {},
          { headers: { 'idempotency-key': ['a'.repeat(255), 'b'.repeat(10_000), 'é', ' '][index] ?? '' } },
        ),
      ),
  },
  {
    name: 'anonymous-documents',
    run: (world) =>
      times(200, (index) =>
        world.send(['/docs', '/openapi.json', '/healthz', '/llms.txt'][index % 4] ?? '/', null, {
          method: 'GET',
          key: null,
        }),
      ),
  },
  {
    name: 'forged-keys',
    run: (world) =>
      times(300, (index) =>
        world.chat(
          {},
          { key: `tm_test_neighbour_${String(index).padStart(16, 'a')}_${'a'.repeat(32)}${'b'.repeat(16)}` },
        ),
      ),
    expect: [401],
  },
]
