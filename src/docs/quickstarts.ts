/**
 * The configuration of each SDK and coding agent, as data. The documentation shows it. The tests and `npm run agents`
 * run it unchanged. The key comes from `TRAMONTANE_API_KEY`.
 */

export interface DocsContext {
  /** Without a trailing slash. */
  origin: string
  model: string
}

export interface SdkQuickstart {
  id: string
  title: string
  packages: string[]
  /** An ES module that prints the answer. */
  code: (place: DocsContext) => string
}

export interface AgentQuickstart {
  id: string
  title: string
  package: string
  /** The tested version. */
  version: string
  /** By path, under the home folder (`~/`) or the project. */
  files: (place: DocsContext) => Record<string, string>
  environment: (place: DocsContext) => Record<string, string>
  /** A shell command to run once before. */
  setup?: (place: DocsContext) => string
  /** A shell command; `$PROMPT` contains the task. */
  command: (place: DocsContext) => string
}

export const sdkQuickstarts: readonly SdkQuickstart[] = [
  {
    id: 'openai',
    title: 'openai',
    packages: ['openai'],
    code: ({ origin, model }) => `import OpenAI from 'openai'

const client = new OpenAI({ baseURL: '${origin}/v1', apiKey: process.env.TRAMONTANE_API_KEY })
const stream = await client.chat.completions.create({
  model: '${model}',
  reasoning_effort: 'high',
  messages: [{ role: 'user', content: 'What is 478 + 356?' }],
  stream: true,
})
for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta.content ?? '')
`,
  },
  {
    id: 'responses',
    title: 'openai with Responses',
    packages: ['openai'],
    code: ({ origin, model }) => `import OpenAI from 'openai'

const client = new OpenAI({ baseURL: '${origin}/v1', apiKey: process.env.TRAMONTANE_API_KEY })
const response = await client.responses.create({
  model: '${model}',
  reasoning: { effort: 'high' },
  input: 'What is 478 + 356?',
})
console.log(response.output_text)
`,
  },
  {
    id: 'anthropic',
    title: '@anthropic-ai/sdk',
    packages: ['@anthropic-ai/sdk'],
    code: ({ origin, model }) => `import Anthropic from '@anthropic-ai/sdk'

const client = new Anthropic({ baseURL: '${origin}', apiKey: process.env.TRAMONTANE_API_KEY })
const message = await client.messages.create({
  model: '${model}',
  max_tokens: 512,
  messages: [{ role: 'user', content: 'What is 478 + 356?' }],
})
for (const block of message.content) if (block.type === 'text') console.log(block.text)
`,
  },
  {
    id: 'ai-compatible',
    title: 'ai with @ai-sdk/openai-compatible',
    packages: ['ai', '@ai-sdk/openai-compatible'],
    code: ({ origin, model }) => `import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { streamText } from 'ai'

const tramontane = createOpenAICompatible({
  name: 'tramontane',
  baseURL: '${origin}/v1',
  apiKey: process.env.TRAMONTANE_API_KEY,
  includeUsage: true,
  supportsStructuredOutputs: true,
})
const { textStream } = streamText({
  model: tramontane('${model}'),
  prompt: 'What is 478 + 356?',
  providerOptions: { tramontane: { reasoningEffort: 'high' } },
})
for await (const text of textStream) process.stdout.write(text)
`,
  },
  {
    id: 'ai-anthropic',
    title: 'ai with @ai-sdk/anthropic',
    packages: ['ai', '@ai-sdk/anthropic'],
    code: ({ origin, model }) => `import { createAnthropic } from '@ai-sdk/anthropic'
import { generateText } from 'ai'

const tramontane = createAnthropic({ baseURL: '${origin}/v1', apiKey: process.env.TRAMONTANE_API_KEY })
const { text } = await generateText({ model: tramontane('${model}'), prompt: 'What is 478 + 356?', maxOutputTokens: 512 })
console.log(text)
`,
  },
  {
    id: 'mistral',
    title: '@mistralai/mistralai',
    packages: ['@mistralai/mistralai'],
    code: ({ origin, model }) => `import { Mistral } from '@mistralai/mistralai'

const client = new Mistral({ serverURL: '${origin}/mistral', apiKey: process.env.TRAMONTANE_API_KEY })
const answer = await client.chat.complete({
  model: '${model}',
  reasoningEffort: 'high',
  messages: [{ role: 'user', content: 'What is 478 + 356?' }],
})
const { content } = answer.choices[0].message
for (const chunk of typeof content === 'string' ? [{ type: 'text', text: content }] : content)
  if (chunk.type === 'text') console.log(chunk.text)
`,
  },
  {
    id: 'ai-mistral',
    title: 'ai with @ai-sdk/mistral',
    packages: ['ai', '@ai-sdk/mistral'],
    code: ({ origin, model }) => `import { createMistral } from '@ai-sdk/mistral'
import { generateText } from 'ai'

const tramontane = createMistral({ baseURL: '${origin}/mistral/v1', apiKey: process.env.TRAMONTANE_API_KEY })
const { text } = await generateText({ model: tramontane('${model}'), prompt: 'What is 478 + 356?' })
console.log(text)
`,
  },
  {
    id: 'langchain',
    title: '@langchain/openai',
    packages: ['@langchain/openai', '@langchain/core'],
    code: ({ origin, model }) => `import { ChatOpenAI } from '@langchain/openai'

const chat = new ChatOpenAI({
  model: '${model}',
  apiKey: process.env.TRAMONTANE_API_KEY,
  configuration: { baseURL: '${origin}/v1' },
  modelKwargs: { reasoning_effort: 'high' },
})
const answer = await chat.invoke('What is 478 + 356?')
console.log(answer.content)
`,
  },
]

/** The context window in the agents' configurations, in tokens. */
const contextTokens = 262_144

export const agentQuickstarts: readonly AgentQuickstart[] = [
  {
    id: 'claude-code',
    title: 'Claude Code',
    package: '@anthropic-ai/claude-code',
    version: '2.1.330',
    files: () => ({}),
    environment: ({ origin }) => ({
      ANTHROPIC_BASE_URL: origin,
      ANTHROPIC_AUTH_TOKEN: '$TRAMONTANE_API_KEY',
      CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
      CLAUDE_CODE_MAX_CONTEXT_TOKENS: String(contextTokens),
    }),
    command: ({ model }) => `claude -p "$PROMPT" --model ${model} --allowedTools Bash --max-turns 10`,
  },
  {
    id: 'codex',
    title: 'Codex',
    package: '@openai/codex',
    version: '0.169.0',
    files: ({ origin, model }) => ({
      '~/.codex/config.toml': `model = "${model}"
model_provider = "tramontane"
model_context_window = ${contextTokens}

[model_providers.tramontane]
name = "Tramontane"
base_url = "${origin}/v1"
env_key = "TRAMONTANE_API_KEY"
wire_api = "responses"
`,
    }),
    environment: () => ({}),
    command: () => 'codex exec --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox "$PROMPT"',
  },
  {
    id: 'opencode',
    title: 'opencode',
    package: 'opencode-ai',
    version: '1.18.33',
    files: ({ origin, model }) => ({
      'opencode.json': `{
  "provider": {
    "tramontane": {
      "npm": "@ai-sdk/openai-compatible",
      "options": { "baseURL": "${origin}/v1", "apiKey": "{env:TRAMONTANE_API_KEY}" },
      "models": { "${model}": { "limit": { "context": ${contextTokens}, "output": 32768 } } }
    }
  }
}
`,
    }),
    environment: () => ({}),
    command: ({ model }) => `opencode run -m tramontane/${model} "$PROMPT"`,
  },
  {
    id: 'cline',
    title: 'Cline',
    package: 'cline',
    version: '3.0.65',
    files: () => ({}),
    environment: () => ({}),
    setup: ({ origin, model }) => `cline auth -p openai -k "$TRAMONTANE_API_KEY" -m ${model} -b ${origin}/v1`,
    command: ({ model }) => `cline -P openai -m ${model} --json "$PROMPT"`,
  },
  {
    id: 'qwen-code',
    title: 'Qwen Code',
    package: '@qwen-code/qwen-code',
    version: '0.24.4',
    files: () => ({}),
    environment: ({ origin, model }) => ({
      OPENAI_BASE_URL: `${origin}/v1`,
      OPENAI_API_KEY: '$TRAMONTANE_API_KEY',
      OPENAI_MODEL: model,
    }),
    command: () => 'qwen --auth-type openai -y -p "$PROMPT"',
  },
  {
    id: 'continue',
    title: 'Continue',
    package: '@continuedev/cli',
    version: '1.5.47',
    files: ({ origin, model }) => ({
      'continue.yaml': `name: tramontane
version: 0.0.1
schema: v1
models:
  - name: tramontane
    provider: openai
    model: ${model}
    apiBase: ${origin}/v1
    apiKey: $TRAMONTANE_API_KEY
    roles: [chat]
`,
    }),
    environment: () => ({}),
    command: () => 'cn --config continue.yaml --auto -p "$PROMPT"',
  },
  {
    id: 'pi',
    title: 'pi',
    package: '@mariozechner/pi-coding-agent',
    version: '0.73.1',
    files: ({ origin, model }) => ({
      '~/.pi/agent/models.json': `{
  "providers": {
    "tramontane": {
      "baseUrl": "${origin}/v1",
      "api": "openai-completions",
      "apiKey": "TRAMONTANE_API_KEY",
      "models": [{ "id": "${model}", "reasoning": true, "contextWindow": ${contextTokens} }]
    }
  }
}
`,
    }),
    environment: () => ({ PI_OFFLINE: '1' }),
    command: ({ model }) => `pi -p --provider tramontane --model ${model} --no-session "$PROMPT"`,
  },
]
