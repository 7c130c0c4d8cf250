/** Sampling values at the limits of floating point, and rules that permit no token. */
import { type Attack, inTurn, times, wait } from '../attack.ts'

const object = { response_format: { type: 'json_object' } }
const tool = {
  type: 'function',
  function: { name: 'f', parameters: { type: 'object', properties: { q: { type: 'string' } } } },
}

const tiny = (name: string, change: object): Attack => ({
  name: `sampling-${name}`,
  run: async (world) =>
    inTurn(10, async () => {
      const answer = await world.chat(change)
      await wait(300)
      return answer
    }),
  expect: (answers) => {
    const lost = answers.find(({ status }) => status >= 500 || status === 0)
    return lost && `an invalid value was reported as a worker fault: ${lost.status} ${lost.text.slice(0, 120)}`
  },
})

export const samplingAttacks: readonly Attack[] = [
  { ...tiny('temperature-1e-40-object', { ...object, temperature: 1e-40 }), quick: true },
  tiny('temperature-1e-45-tools', { temperature: 1e-45, tools: [tool], tool_choice: 'required' }),
  tiny('temperature-5e-324-plain', { temperature: 5e-324 }),
  tiny('temperature-1e-38-thinking', { ...object, temperature: 1e-38, reasoning_effort: 'high', max_tokens: 40 }),
  tiny('top-p-5e-324', { ...object, top_p: 5e-324, temperature: 1 }),
  tiny('penalties', { ...object, frequency_penalty: 2, presence_penalty: 2, temperature: 2, max_tokens: 200 }),
  tiny('control-characters', {
    temperature: 1,
    response_format: {
      type: 'json_schema',
      json_schema: {
        name: 'a',
        schema: {
          type: 'object',
          properties: { a: { enum: ['\u0001\u0002\u001f', '[TOOL_CALLS]', '</s>'] } },
          required: ['a'],
        },
      },
    },
  }),
  {
    name: 'stop-strings',
    run: (world) =>
      times(4, (index) =>
        world.chat({
          stop: Array.from({ length: 16 }, (_, each) => `${'ab'.repeat(100)}${each}`).slice(0, index * 4 + 4),
          max_tokens: 200,
        }),
      ),
  },
]
