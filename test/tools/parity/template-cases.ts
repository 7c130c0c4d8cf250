/** Chats for the chat template: tools and calls, images, an empty turn, and what it must refuse. */

export interface TemplateChat {
  messages: { [field: string]: unknown }[]
  tools: { type: string; function: { name: string; [field: string]: unknown } }[]
  reasoning_effort?: string
}

const user = (content: unknown) => ({ role: 'user', content })
const text = (text: string) => ({ type: 'text', text })
const image = { type: 'image_url', image_url: { url: 'data:image/png;base64,' } }
const tool = (fields: object) => ({ type: 'function', function: { name: 'look_up', ...fields } })
const parameters = { type: 'object', properties: { 'naïve ☕': { type: 'string', enum: ["<a> & 'b'", '"'] } } }
const settings = '[MODEL_SETTINGS]{"reasoning_effort": "none"}[/MODEL_SETTINGS]'

function called(json: string): TemplateChat['messages'] {
  const call = { id: 'abcdefghi', type: 'function', function: { name: 'look_up', arguments: json } }
  return [
    user('a'),
    { role: 'assistant', content: null, tool_calls: [call] },
    { role: 'tool', tool_call_id: 'abcdefghi', content: [text('b'), text('c')] },
  ]
}

/** Their prompts are the embedded engine's. */
export const toolCases: readonly (readonly [name: string, chat: TemplateChat])[] = [
  ['a tool', { messages: [user('a')], tools: [tool({ description: "<d> & 'é'", parameters })] }],
  ['two tools', { messages: [user('a')], tools: [tool({ description: 'd', parameters }), tool({ parameters: {} })] }],
  ['a tool without a description', { messages: [user('a')], tools: [tool({ parameters })] }],
  ['a tool without parameters', { messages: [user('a')], tools: [tool({ description: 'd' })] }],
  ['a strict tool', { messages: [user('a')], tools: [tool({ description: 'd', parameters, strict: true })] }],
  ['no tools', { messages: [user('a')], tools: [] }],
  ['no tools and high', { messages: [user('a')], tools: [], reasoning_effort: 'high' }],
  ['arguments', { messages: called(`{"a": 1, "é": "<&'>", "b": [1.5, null]}`), tools: [] }],
  ['empty arguments', { messages: called('{}'), tools: [tool({ parameters })] }],
  ['arguments without text', { messages: called(''), tools: [] }],
]

/** The embedded engine has no vision; the prompts are those of mistral-common's template. */
const imageCases = [
  ['an image', [image], '[IMG]'],
  ['a text and an image', [text('a'), image], '[IMG]a'],
  ['an image and a text', [image, text('a')], '[IMG]a'],
  ['texts and an image', [text('a'), text('b'), image], '[IMG]ab'],
  ['a text between images', [image, text('a'), image], '[IMG]a[IMG]'],
  ['a text and images', [text('a'), image, image], 'a[IMG][IMG]'],
  ['an image between texts', [text('a'), image, text('b')], 'a[IMG]b'],
].map(([name, content, prompt]) => ({
  name: String(name),
  chat: { messages: [user(content)], tools: [] },
  prompt: `<s>${settings}[INST]${prompt}[/INST]`,
}))

/** mistral-common refuses it. llama-server removes empty reasoning before the template sees the turn. */
const emptyTurn = {
  name: 'an empty turn',
  chat: { messages: [user('a'), { role: 'assistant', content: '' }, user('b')], tools: [] },
  prompt: `<s>${settings}[INST]a[/INST]</s>[INST]b[/INST]`,
}

export const writtenCases = [...imageCases, emptyTurn]

const thinking = { type: 'thinking', thinking: 'b' }

export const refusedCases: readonly (readonly [name: string, chat: TemplateChat])[] = [
  ['another role', { messages: [user('a'), { role: 'critic', content: 'b' }], tools: [] }],
  ['another effort', { messages: [user('a')], tools: [], reasoning_effort: 'medium' }],
  ['thinking of a user', { messages: [user([thinking])], tools: [] }],
  ['an image of the assistant', { messages: [user('a'), { role: 'assistant', content: [image] }], tools: [] }],
  ['another part', { messages: [user([{ type: 'input_audio' }])], tools: [] }],
  [
    'reasoning twice',
    { messages: [user('a'), { role: 'assistant', content: [thinking], reasoning: 'c' }, user('d')], tools: [] },
  ],
  [
    'reasoning that differs',
    { messages: [user('a'), { role: 'assistant', reasoning_content: 'b', reasoning: 'c' }, user('d')], tools: [] },
  ],
]
