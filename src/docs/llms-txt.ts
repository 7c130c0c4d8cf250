/** `/llms.txt` (llmstxt.org): a description of this service for language models that write code against it. */

import { type Operation, type Tag, tags } from '../http/route.ts'
import { audienceOf, documentedPath } from './openapi.ts'
import { agentQuickstarts, type DocsContext, sdkQuickstarts } from './quickstarts.ts'

export function llmsText(
  operations: readonly Operation[],
  { origin, model }: DocsContext,
  offered: readonly string[],
): string {
  const routes = (Object.keys(tags) as Tag[])
    .filter((tag) => operations.some((operation) => operation.tag === tag && audienceOf(operation) === 'users'))
    .map((tag) => {
      const lines = operations
        .filter((operation) => operation.tag === tag)
        .map((operation) => `- ${operation.method.toUpperCase()} ${documentedPath(operation)}: ${operation.summary}`)
      return `### ${tag}\n\n${tags[tag]}\n\n${lines.join('\n')}`
    })
  return `# Tramontane

> An API for ${offered.join(', ')}, billed per token, in the dialects of OpenAI, Anthropic and Mistral.

- Base URL: ${origin}/v1 (Anthropic's clients: ${origin})
- Key: \`authorization: Bearer <key>\` or \`x-api-key: <key>\`
- Model: \`${model}\`
- Effort: \`reasoning_effort\` of none, minimal, low, medium, high, xhigh, max; the model reasons from medium on. Reasoning is in \`reasoning_content\`.
- Images and PDFs: data URLs or https addresses in message parts
- Errors: a \`code\`, a \`message\` with advice, and the \`param\` of the invalid field

## Documents

- [Quickstart](${origin}/docs/quickstart): the first request in curl, Python and TypeScript
- [Use the API](${origin}/docs/api): dialects, effort, images, stored responses, keys, usage
- [Errors](${origin}/docs/errors): codes, with advice for each
- [Limits and stored data](${origin}/docs/limits)
- [API reference](${origin}/docs/reference): every route and field
- [OpenAPI 3.1](${origin}/openapi.json): the same for programs

## Quickstarts

${[...sdkQuickstarts, ...agentQuickstarts].map(({ title }) => `- [${title}](${origin}/docs/sdks#${anchorOf(title)})`).join('\n')}

## Routes

${routes.join('\n\n')}
`
}

/** The same anchors as those of the guides' headings. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\w\s-]/g, '')
    .replace(/\s/g, '-')
}
