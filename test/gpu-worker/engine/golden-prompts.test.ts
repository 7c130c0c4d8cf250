/**
 * Compares our prompts with those of mistral-common, the reference implementation: vectors of its test suite for
 * tokenizer version 15, made with the released Tekken vocabulary of Small 4 (tests/data/expected) or with a made-up one
 * (text only; tests/data/expected/instruct and tests/test_tokenizer_v15.py).
 *
 * The released vocabulary is not in this repository, so only ids that are known without it are compared: control tokens
 * have ids below 1,000, and a token of one byte has the byte plus 1,000. Longer tokens are compared as text.
 */
import { describe, expect, it } from 'vitest'
import { renderPrompt, type Segment } from '../../../gpu-worker/engine/template.ts'
import { chatOf, textOf } from './prompt.ts'

const controlIds: Record<string, number> = {
  '<s>': 1,
  '</s>': 2,
  '[INST]': 3,
  '[/INST]': 4,
  '[AVAILABLE_TOOLS]': 5,
  '[/AVAILABLE_TOOLS]': 6,
  '[TOOL_RESULTS]': 7,
  '[/TOOL_RESULTS]': 8,
  '[TOOL_CALLS]': 9,
  '[SYSTEM_PROMPT]': 17,
  '[/SYSTEM_PROMPT]': 18,
  '[ARGS]': 32,
  '[THINK]': 34,
  '[/THINK]': 35,
  '[MODEL_SETTINGS]': 36,
  '[/MODEL_SETTINGS]': 37,
}
const firstByteId = 1_000
const settingsIds = (effort: 'none' | 'high') => [
  ...[36, 19227, 80277, 1302, 13196, 1609, 1449, 2811, 1429, effort === 'high' ? 24871 : 17670, 46005, 37],
]

function segmentsOf(body: Record<string, unknown>): Segment[] {
  const chat = chatOf(body)
  const rendered = renderPrompt(chat, chat.effort ?? 'none')
  if (!rendered.ok) throw new Error(rendered.message)
  return rendered.segments
}

/** Between control tokens: the text if every id is one byte, otherwise the number of ids. */
function runsOfIds(ids: number[]): (number | string)[] {
  const runs: (number | string)[] = []
  let run: number[] = []
  const flush = () => {
    const bytes = run.map((id) => id - firstByteId)
    if (run.length > 0)
      runs.push(bytes.every((byte) => byte < 256) ? Buffer.from(bytes).toString('utf8') : `${run.length} tokens`)
    run = []
  }
  for (const id of ids) {
    if (id >= firstByteId) run.push(id)
    else {
      flush()
      runs.push(id)
    }
  }
  flush()
  return runs
}

/** The same for our segments, with the counts of the vector if a text has longer tokens. */
function runsOfSegments(segments: readonly Segment[], like: readonly (number | string)[]): (number | string)[] {
  return segments.map((segment, index) => {
    if ('control' in segment) return controlIds[segment.control] ?? `no id for ${segment.control}`
    const expected = like[index]
    return typeof expected === 'string' && expected.endsWith(' tokens') ? expected : segment.text
  })
}

const user = (content: string) => ({ role: 'user', content })
const call = (id: string, name: string, json = '{}') => ({ id, type: 'function', function: { name, arguments: json } })
const result = (id: string, content: string) => ({ role: 'tool', tool_call_id: id, content })
const tool = (name: string, description: string, parameters: object) => ({
  type: 'function',
  function: { name, description, parameters },
})

const short = [
  { role: 'system', content: 'S' },
  user('U1'),
  { role: 'assistant', content: 'A1', tool_calls: [call('123456789', 'F1'), call('999999999', 'F2')] },
  result('123456789', 'R1'),
  result('999999999', 'R2'),
  { role: 'assistant', content: 'A2' },
  user('U2'),
]
const interpreter = tool('math_interpreter', 'Get the value of an arithmetic expression.', {
  type: 'object',
  properties: { expression: { type: 'string', description: 'Math expression.' } },
})
const interpreterText =
  '[AVAILABLE_TOOLS][{"type": "function", "function": {"name": "math_interpreter", "description": "Get the value of an' +
  ' arithmetic expression.", "parameters": {"type": "object", "properties": {"expression": {"type": "string",' +
  ' "description": "Math expression."}}}}}][/AVAILABLE_TOOLS]'
const shortText = (tools: string, effort: string) =>
  `<s>[SYSTEM_PROMPT]S[/SYSTEM_PROMPT]${tools}[MODEL_SETTINGS]{"reasoning_effort": "${effort}"}[/MODEL_SETTINGS]` +
  '[INST]U1[/INST]A1[TOOL_CALLS]F1[ARGS]{}[TOOL_CALLS]F2[ARGS]{}</s>[TOOL_RESULTS]R1[/TOOL_RESULTS]' +
  '[TOOL_RESULTS]R2[/TOOL_RESULTS]A2</s>[INST]U2[/INST]'
// U1, A1, F1, {}, F2, {}, R1, R2, A2, U2
const shortIds = [
  ...[3, 1085, 1049, 4, 1065, 1049, 9, 1070, 1049, 32, 30620, 9, 1070, 1050, 32, 30620, 2, 7, 1082, 1049, 8],
  ...[7, 1082, 1050, 8, 1065, 1050, 2, 3, 1085, 1050, 4],
]

const place = {
  location: { type: 'string', description: 'The city and state, e.g. San Francisco, CA' },
  format: {
    type: 'string',
    enum: ['celsius', 'fahrenheit'],
    description: 'The temperature unit to use. Infer this from the users location.',
  },
}
const weatherTools = [
  tool('get_current_weather', 'Get the current weather', {
    type: 'object',
    properties: place,
    required: ['location', 'format'],
  }),
  tool('get_n_day_weather_forecast', 'Get an N-day weather forecast', {
    type: 'object',
    properties: { ...place, num_days: { type: 'integer', description: 'The number of days to forecast' } },
    required: ['location', 'format', 'num_days'],
  }),
]
const forecast = '{"2024-05-22":"22","2024-05-23":"23","2024-05-24":"24","2024-05-25":"25","2024-05-26":"26"}'
const weather = [
  { role: 'system', content: "Don't make assumptions about what values to plug into functions." },
  { role: 'system', content: 'Ask for clarification if a user request is ambiguous.' },
  user("What's the weather like today"),
  { role: 'assistant', content: 'Sure, can you please provide me with your location?' },
  user("I'm in Paris, France."),
  {
    role: 'assistant',
    content: '',
    tool_calls: [call('VvvODy9mT', 'get_current_weather', '{"location": "Paris, France", "format": "celsius"}')],
  },
  result('VvvODy9mT', '22'),
  { role: 'assistant', content: 'The current temperature in Paris, France is 22 degrees Celsius.' },
  user('what is the weather going to be like in Paris, France over the next x days'),
  { role: 'assistant', content: 'Please tell me the number of days you want the weather forecast for.' },
  user('5 days'),
  {
    role: 'assistant',
    content: null,
    tool_calls: [
      call('lbFBYfCMz', 'get_n_day_weather_forecast', '{"location":"Paris, France","format":"celsius","num_days":5}'),
    ],
  },
  result('lbFBYfCMz', forecast),
]
const weatherPlaceText =
  '"location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"}, "format": {"type":' +
  ' "string", "enum": ["celsius", "fahrenheit"], "description": "The temperature unit to use. Infer this from the users' +
  ' location."}'
const weatherText =
  "<s>[SYSTEM_PROMPT]Don't make assumptions about what values to plug into functions.[/SYSTEM_PROMPT][SYSTEM_PROMPT]Ask" +
  ' for clarification if a user request is ambiguous.[/SYSTEM_PROMPT][AVAILABLE_TOOLS][{"type": "function", "function":' +
  ' {"name": "get_current_weather", "description": "Get the current weather", "parameters": {"type": "object",' +
  ` "properties": {${weatherPlaceText}}, "required": ["location", "format"]}}}, {"type": "function", "function":` +
  ' {"name": "get_n_day_weather_forecast", "description": "Get an N-day weather forecast", "parameters": {"type":' +
  ` "object", "properties": {${weatherPlaceText}, "num_days": {"type": "integer", "description": "The number of days to` +
  ' forecast"}}, "required": ["location", "format", "num_days"]}}}][/AVAILABLE_TOOLS][MODEL_SETTINGS]{"reasoning_effort":' +
  ' "none"}[/MODEL_SETTINGS][INST]What\'s the weather like today[/INST]Sure, can you please provide me with your' +
  ' location?</s>[INST]I\'m in Paris, France.[/INST][TOOL_CALLS]get_current_weather[ARGS]{"location": "Paris, France",' +
  ' "format": "celsius"}</s>[TOOL_RESULTS]22[/TOOL_RESULTS]The current temperature in Paris, France is 22 degrees' +
  ' Celsius.</s>[INST]what is the weather going to be like in Paris, France over the next x days[/INST]Please tell me the' +
  ' number of days you want the weather forecast for.</s>[INST]5 days[/INST][TOOL_CALLS]get_n_day_weather_forecast[ARGS]' +
  `{"location": "Paris, France", "format": "celsius", "num_days": 5}</s>[TOOL_RESULTS]${forecast}[/TOOL_RESULTS]`

const none = '[MODEL_SETTINGS]{"reasoning_effort": "none"}[/MODEL_SETTINGS]'

const texts: [string, Record<string, unknown>, string][] = [
  [
    'test_tools_and_reasoning_effort',
    { messages: short, tools: [interpreter], reasoning_effort: 'high' },
    shortText(interpreterText, 'high'),
  ],
  ['test_no_tools_and_reasoning_effort', { messages: short, reasoning_effort: 'none' }, shortText('', 'none')],
  ['chat-v15-default-absent', { messages: short }, shortText('', 'none')],
  ['chat-v15-default-high', { messages: short, reasoning_effort: 'high' }, shortText('', 'high')],
  [
    'tools_wrong_order',
    { messages: [short[0], short[1], short[2], short[4], short[3], short[5], short[6]], tools: [interpreter] },
    shortText(interpreterText, 'none'),
  ],
  ['chat-sample-weather-full-released-p15i', { messages: weather, tools: weatherTools }, weatherText],
  [
    'plain_text_think',
    {
      messages: [
        user('Solve 2+2.'),
        { role: 'assistant', content: '<think>2+2 is 4.</think>The answer is 4.', prefix: true },
      ],
    },
    `<s>${none}[INST]Solve 2+2.[/INST]<think>2+2 is 4.</think>The answer is 4.`,
  ],
  [
    'multi_turn',
    {
      messages: [
        user('User says hello'),
        { role: 'assistant', content: 'Assistant says hi' },
        user('User says how are you ?'),
      ],
    },
    `<s>${none}[INST]User says hello[/INST]Assistant says hi</s>[INST]User says how are you ?[/INST]`,
  ],
  [
    'multi_turn_tools',
    {
      messages: [{ role: 'system', content: 'You are a helpful assistant.' }, user('User says hello')],
      tools: [tool('tool2', '', {})],
    },
    `<s>[SYSTEM_PROMPT]You are a helpful assistant.[/SYSTEM_PROMPT][AVAILABLE_TOOLS][{"type": "function", "function": {"name": "tool2", "description": "", "parameters": {}}}][/AVAILABLE_TOOLS]${none}[INST]User says hello[/INST]`,
  ],
]

const ids: [string, Record<string, unknown>, number[]][] = [
  [
    'chat-v15-default-high',
    { messages: short, reasoning_effort: 'high' },
    [1, 17, 1083, 18, ...settingsIds('high'), ...shortIds],
  ],
  [
    'chat-v15-default-none',
    { messages: short, reasoning_effort: 'none' },
    [1, 17, 1083, 18, ...settingsIds('none'), ...shortIds],
  ],
  [
    'chat-v15-prefixed-final',
    { messages: [user('a'), { role: 'assistant', content: 'b', prefix: true }] },
    [1, ...settingsIds('none'), 3, 1097, 4, 1098],
  ],
  [
    'chat-v15-call-id-slash',
    { messages: [user('a'), { role: 'assistant', content: '', tool_calls: [call('a/b', 'f')] }, result('a/b', 'b')] },
    [1, ...settingsIds('none'), 3, 1097, 4, 9, 1102, 32, 30620, 2, 7, 1098, 8],
  ],
]

describe('golden prompts', () => {
  it.each(texts)('[GLD1] %s: the text equals the reference', (_, body, text) => {
    expect(textOf(segmentsOf(body))).toBe(text)
  })

  it.each(ids)('[GLD2] %s: control tokens and bytes have the released ids at the same positions', (_, body, vector) => {
    const runs = runsOfIds(vector)
    const segments = segmentsOf(body)
    expect(segments.length).toBe(runs.length)
    expect(runsOfSegments(segments, runs)).toEqual(runs)
  })
})
