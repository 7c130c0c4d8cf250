/** Valid objects of the vendors' requests, by the end of their path. The empty path is the request itself. */
import type { Samples } from './probe-field.ts'

const image = 'https://example.com/a.png'
const textFile = 'data:text/plain;base64,aGk='
const schema = { type: 'object' }
const call = { name: 'f', arguments: '{}' }

const chat: Samples = {
  '': {
    model: 'm',
    messages: [{ role: 'user', content: 'hi' }],
    tools: [{ type: 'function', function: { name: 'f' } }],
  },
  'messages[]<assistant>': { role: 'assistant', content: 'a' },
  'messages[]<developer>': { role: 'developer', content: 'a' },
  'messages[]<system>': { role: 'system', content: 'a' },
  'messages[]<user>': { role: 'user', content: 'a' },
  'messages[]<tool>': { role: 'tool', content: 'a', tool_call_id: 'c' },
  'messages[]<function>': { role: 'function', content: 'a', name: 'f' },
  'content[]<text>': { type: 'text', text: 't' },
  'content[]<refusal>': { type: 'refusal', refusal: 't' },
  'content[]<image_url>': { type: 'image_url', image_url: { url: image } },
  'content[]<image_url>.image_url': { url: image },
  'content[]<file>': { type: 'file', file: { file_data: textFile } },
  'content[]<file>.file': { file_data: textFile },
  'messages[]<assistant>.function_call': call,
  'tool_calls[]': { id: 'c', function: call },
  'tool_calls[].function': call,
  'tool_calls[]<function>': { id: 'c', type: 'function', function: call },
  'tool_calls[]<function>.function': call,
  'tool_calls[]<custom>': { id: 'c', type: 'custom', custom: { name: 'f', input: 'x' } },
  'tool_calls[]<custom>.custom': { name: 'f', input: 'x' },
  'functions[]': { name: 'f' },
  function_call: { name: 'f' },
  'tools[]<function>': { type: 'function', function: { name: 'f' } },
  'tools[]<function>.function': { name: 'f' },
  response_format: { type: 'json_schema', json_schema: { schema } },
  'response_format.json_schema': { schema },
  'response_format<json_schema>': { type: 'json_schema', json_schema: { schema } },
  'response_format<json_schema>.json_schema': { schema },
  'tool_choice<allowed_tools>': {
    type: 'allowed_tools',
    allowed_tools: { mode: 'auto', tools: [{ type: 'function', function: { name: 'f' } }] },
  },
  'tool_choice<allowed_tools>.allowed_tools': { mode: 'auto', tools: [{ type: 'function', function: { name: 'f' } }] },
  tool_choice: { type: 'function', function: { name: 'f' } },
  'tool_choice.function': { name: 'f' },
  'tool_choice<function>': { type: 'function', function: { name: 'f' } },
  'tool_choice<function>.function': { name: 'f' },
}

const thinking = { type: 'thinking', thinking: [{ type: 'text', text: 't' }] }
const mistral: Samples = {
  ...chat,
  'content[]<thinking>': thinking,
  'thinking[]<text>': { type: 'text', text: 't' },
  'thinking[]<reference>': { type: 'reference', reference_ids: [1] },
  'thinking[]<tool_reference>': { type: 'tool_reference', tool: 'web_search', title: 't' },
  'content[]<reference>': { type: 'reference', reference_ids: [1] },
  'content[]<document_url>': { type: 'document_url', document_url: image },
  'content[]<file>': { type: 'file', file_id: 'f' },
}

const block = { type: 'text', text: 't' }
const blockSource = { type: 'base64', data: 'iVBORw0KGgo=' }
const messages: Samples = {
  '': {
    model: 'm',
    max_tokens: 9,
    messages: [{ role: 'user', content: 'hi' }],
    tools: [{ name: 'f', input_schema: schema }],
  },
  'messages[]<assistant>': { role: 'assistant', content: 'a' },
  'messages[]<system>': { role: 'system', content: 'a' },
  'messages[]<user>': { role: 'user', content: 'a' },
  'system[]<text>': block,
  'content[]<text>': block,
  'content[]<image>': { type: 'image', source: blockSource },
  'content[]<image>.source<base64>': blockSource,
  'content[]<image>.source<url>': { type: 'url', url: image },
  'source<file>': { type: 'file', file_id: 'f' },
  'content[]<document>': { type: 'document', source: { type: 'text', data: 't' } },
  'content[]<document>.source<base64>': { type: 'base64', data: 'JVBERi0=' },
  'content[]<document>.source<content>': { type: 'content', content: [block] },
  'content[]<document>.source<text>': { type: 'text', data: 't' },
  'content[]<document>.source<url>': { type: 'url', url: image },
  'content[]<search_result>': { type: 'search_result', source: 's', title: 't', content: [block] },
  'content[]<thinking>': { type: 'thinking', thinking: 't', signature: 's' },
  'content[]<redacted_thinking>': { type: 'redacted_thinking', data: 'x' },
  'content[]<tool_use>': { type: 'tool_use', id: 't', name: 'f', input: {} },
  'content[]<tool_result>': { type: 'tool_result', tool_use_id: 't', content: 'c' },
  'tools[]<custom>': { type: 'custom', name: 'f', input_schema: schema },
  'tools[]<custom>.input_schema<object>': schema,
  'output_config.format<json_schema>': { type: 'json_schema', schema },
  'thinking<enabled>': { type: 'enabled', budget_tokens: 1_024 },
  'tool_choice<tool>': { type: 'tool', name: 'f' },
}

const responses: Samples = {
  '': { model: 'm', input: [{ role: 'user', content: 'hi' }], tools: [{ type: 'function', name: 'f' }] },
  'input[]<assistant>': { type: 'message', role: 'assistant', content: 'a' },
  'input[]<assistant|developer>': { type: 'message', role: 'user', content: 'a' },
  // Instructions with an image are refused as a whole, so its fields are probed in a user message.
  'input[]<developer|system>': { type: 'message', role: 'user', content: 'a' },
  'content[]<output_text>': { type: 'output_text', text: 't' },
  'content[]<input_text>': { type: 'input_text', text: 't' },
  'output[]<input_text>': { type: 'input_text', text: 't' },
  'content[]<refusal>': { type: 'refusal', refusal: 't' },
  'content[]<input_image>': { type: 'input_image', image_url: image },
  'output[]<input_image>': { type: 'input_image', image_url: image },
  'content[]<input_file>': { type: 'input_file', file_data: textFile },
  'output[]<input_file>': { type: 'input_file', file_data: textFile },
  'input[]<custom_tool_call>': { type: 'custom_tool_call', call_id: 'c', name: 'f', input: 'x' },
  'input[]<custom_tool_call_output>': { type: 'custom_tool_call_output', call_id: 'c', output: 'x' },
  'input[]<function_call>': { type: 'function_call', call_id: 'c', name: 'f', arguments: '{}' },
  'input[]<function_call_output>': { type: 'function_call_output', call_id: 'c', output: 'x' },
  'input[]<item_reference>': { type: 'item_reference', id: 'i' },
  'input[]<reasoning>': { type: 'reasoning', summary: [], content: [{ type: 'reasoning_text', text: 't' }] },
  'content[]<reasoning_text>': { type: 'reasoning_text', text: 't' },
  'summary[]<summary_text>': { type: 'summary_text', text: 't' },
  'tools[]<function>': { type: 'function', name: 'f' },
  'tools[]<custom>': { type: 'custom', name: 'f' },
  'tools[]<custom>.format<grammar>': { type: 'grammar', syntax: 'lark', definition: 'start: "a"' },
  'text.format<json_schema>': { type: 'json_schema', name: 'n', schema },
  'tool_choice<allowed_tools>': { type: 'allowed_tools', mode: 'auto', tools: [{ type: 'function', name: 'f' }] },
  'tool_choice<function>': { type: 'function', name: 'f' },
  'tool_choice<custom>': { type: 'custom', name: 'f' },
}

export const samples = { chat, messages, mistral, responses }
