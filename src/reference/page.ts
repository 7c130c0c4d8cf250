/**
 * The reference as one page: no script, no font, nothing from elsewhere, so that it may forbid all of that to itself.
 */
import { html, raw } from 'hono/html'
import { effortWords, mapEffort } from '../../backends/protocol/effort.ts'
import { errorTable } from '../../backends/protocol/errors.ts'
import { findModel } from '../../backends/protocol/model.ts'
import { modelAliases } from '../../backends/protocol/model-alias.ts'
import { bodySchema } from './openapi.ts'
import { type Operation, operations, type Tag, tags } from './operations.ts'
import { type AgentQuickstart, agentQuickstarts, type Place, sdkQuickstarts } from './quickstarts.ts'

export const style = `
:root { color-scheme: light dark; --line: #8884; --quiet: #777; --back: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
h3 { margin: 2rem 0 .25rem; font-size: 1rem; }
code, pre { font: 13px/1.5 ui-monospace, monospace; }
pre { background: var(--back); padding: .75rem; overflow-x: auto; border-radius: 4px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); }
summary { cursor: pointer; }
.verb { display: inline-block; min-width: 4.5em; text-transform: uppercase; font-weight: 600; }
.quiet { color: var(--quiet); }
nav a { margin-right: 1rem; }
`

let sections: ReturnType<typeof section>[] | undefined

export async function page(place: Place, offered: readonly string[]) {
  // The same at every address, and most of the work: it is done once.
  sections ??= (Object.keys(tags) as Tag[]).map(section)
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tramontane: reference</title>
<style>${raw(style)}</style>
</head>
<body>
<h1>Tramontane</h1>
<p>${offered.join(', ')} at <code>${place.origin}/v1</code>, in the dialects of OpenAI, Anthropic and Mistral. The same as
<a href="/openapi.json">OpenAPI 3.1</a>, and for language models as <a href="/llms.txt">llms.txt</a>.</p>
<nav>${[
    ['start', 'Start'],
    ['agents', 'Coding agents'],
    ['effort', 'Effort'],
    ['names', 'Names'],
    ['errors', 'Errors'],
    ['headers', 'Headers'],
    ['routes', 'Routes'],
  ].map(([id, name]) => html`<a href="#${id}">${name}</a>`)}</nav>
<h2 id="start">Start</h2>
<p>Keep your key in the environment: <code>export TRAMONTANE_API_KEY=tm_live_…</code>. It is sent as
<code>authorization: Bearer …</code> or as <code>x-api-key</code>.</p>
<h3>curl</h3>
<pre>${curl(place)}</pre>
${sdkQuickstarts.map(({ id, title, packages, code }) => html`<h3 id="sdk-${id}">${title}</h3><p class="quiet">npm install ${packages.join(' ')}</p><pre>${code(place)}</pre>`)}
<h2 id="agents">Coding agents</h2>
${agentQuickstarts.map((agent) => agentSection(agent, place))}
<h2 id="effort">Effort</h2>
<p>How much is thought before the answer. Every word that clients send is taken, as <code>reasoning_effort</code>,
<code>reasoning.effort</code>, <code>output_config.effort</code> or a thinking budget; what was served is told in
<code>x-tramontane-effort</code> and in the usage.</p>
${effortTable()}
<h2 id="names">Names of models</h2>
<p>Names that clients already have are served by Mistral Small 4. The answer says which model served it, and a deprecated name
comes with a <code>deprecation</code> header. An effort that is asked for wins over the one that comes with a name.</p>
<table><tr><th>name</th><th>served by</th><th>effort, unless asked</th><th>deprecated since</th></tr>
${modelAliases.map(({ id, target, effort, deprecatedOn }) => html`<tr><td><code>${id}</code></td><td>${target}</td><td>${effort ?? ''}</td><td>${deprecatedOn ?? ''}</td></tr>`)}</table>
<h2 id="errors">Errors</h2>
<p>A refusal has a code, a message that says what to do, and the path of the field that is wrong. In a stream it is one event,
and then the stream ends.</p>
<table><tr><th>code</th><th>status</th><th>type</th><th>trying again</th></tr>
${Object.entries(errorTable).map(([code, row]) => html`<tr><td><code>${code}</code></td><td>${row.status}</td><td>${row.type}</td><td>${row.retry ? 'may help' : 'does not help'}</td></tr>`)}</table>
<h2 id="headers">Headers</h2>
<table>${headers.map(([name, what]) => html`<tr><td><code>${name}</code></td><td>${what}</td></tr>`)}</table>
<h2 id="routes">Routes</h2>
${sections}
</body>
</html>`
}

function section(tag: Tag) {
  const routes = operations.filter((operation) => operation.tag === tag)
  return html`<h2>${tag}</h2><p>${tags[tag]}</p>${routes.map((operation) => route(operation))}`
}

function route(operation: Operation) {
  const schema = bodySchema(operation)
  const { method, path, summary, description, scope } = operation
  return html`<h3><span class="verb">${method}</span> <code>${path}</code></h3><p>${summary}${scope ? html` <span class="quiet">(${scope})</span>` : ''}</p>
${description ? html`<p>${description}</p>` : ''}${schema ? html`<details><summary>Body</summary><pre>${JSON.stringify(schema, null, 2)}</pre></details>` : ''}`
}

function agentSection(agent: AgentQuickstart, place: Place) {
  const environment = Object.entries(agent.environment(place)).map(([name, value]) => `export ${name}=${value}\n`)
  const setup = agent.setup ? `${agent.setup(place)}\n` : ''
  return html`<h3 id="agent-${agent.id}">${agent.title}</h3><p class="quiet">npm install -g ${agent.package} (run with ${agent.version})</p>
${Object.entries(agent.files(place)).map(([path, text]) => html`<p><code>${path}</code></p><pre>${text}</pre>`)}
<pre>${environment.join('')}${setup}${agent.command(place).replace('$PROMPT', 'What does this project do?')}</pre>`
}

function curl({ origin, model }: Place): string {
  return `curl ${origin}/v1/chat/completions \\
  -H "authorization: Bearer $TRAMONTANE_API_KEY" -H "content-type: application/json" \\
  -d '{"model": "${model}", "messages": [{"role": "user", "content": "What is 478 + 356?"}]}'`
}

function effortTable() {
  const model = findModel('mistral-small-4')
  const levels = model?.efforts ?? []
  return html`<table><tr><th>asked</th><th>served by Mistral Small 4</th></tr>
${effortWords.map((word) => html`<tr><td>${word}</td><td>${mapEffort(word, levels, 'none').effective}</td></tr>`)}</table>`
}

const headers: [string, string][] = [
  ['x-request-id, request-id', 'the request’s id: tell it when something is wrong'],
  ['x-tramontane-effort, -effort-asked', 'the effort that was served, and the one that was asked for'],
  ['x-tramontane-model, -model-asked', 'the model that served it, and the name that was asked for'],
  ['deprecation', 'the name that was asked for is deprecated, and since when (RFC 9745)'],
  ['x-tramontane-pool, -worker', 'where it was served'],
  ['x-tramontane-queue-position, -queue-wait-ms', 'when it had to wait'],
  ['x-tramontane-warnings', 'what was understood and not honoured'],
  ['x-ratelimit-*, ratelimit', 'what is left of the limits'],
  ['retry-after, x-should-retry', 'whole seconds from 1 to 60, or that trying again does not help'],
]
