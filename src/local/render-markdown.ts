/** Markdown to HTML, at build time: highlighted code, scrolling tables, headings with anchors, diagrams as SVG. */
import hljs from 'highlight.js/lib/core'
import bash from 'highlight.js/lib/languages/bash'
import ini from 'highlight.js/lib/languages/ini'
import json from 'highlight.js/lib/languages/json'
import python from 'highlight.js/lib/languages/python'
import typescript from 'highlight.js/lib/languages/typescript'
import { Marked, type Token, type Tokens } from 'marked'
import { escapeHtml, type Heading, type Passage, placeholders, type RenderedPage, written } from '../docs/site.ts'

hljs.registerLanguage('bash', bash)
hljs.registerLanguage('json', json)
hljs.registerLanguage('python', python)
hljs.registerLanguage('toml', ini)
hljs.registerLanguage('ts', typescript)

const languages: Record<string, { grammar: string; label: string }> = {
  sh: { grammar: 'bash', label: 'Shell' },
  bash: { grammar: 'bash', label: 'curl' },
  json: { grammar: 'json', label: 'JSON' },
  python: { grammar: 'python', label: 'Python' },
  toml: { grammar: 'toml', label: 'TOML' },
  js: { grammar: 'ts', label: 'JavaScript' },
  ts: { grammar: 'ts', label: 'TypeScript' },
}
/** Neighbouring blocks in these languages show the same example, as tabs. */
const tabLanguages = ['bash', 'python', 'ts']

export interface RenderOptions {
  /** File name for error messages. */
  source: string
  /** Whether code examples show the address and model of the gateway that serves the page. */
  placed: boolean
  /** The URL of a relative link; undefined when the target is not a page. */
  resolve: (href: string) => string | undefined
  /** The SVG of the page's n-th Mermaid diagram, from 1. */
  diagram: (index: number) => string | undefined
}

/** Throws an error that names the source for a broken link or an HTML tag. */
export function renderMarkdown(markdown: string, options: RenderOptions): RenderedPage {
  const headings: (Heading | { id: string; text: string; depth: 1 })[] = []
  const slugs = new Map<string, number>()
  let diagrams = 0
  const code = (text: string) => (options.placed ? putPlaceholders(text) : text)

  const marked = new Marked({
    gfm: true,
    renderer: {
      heading({ tokens, depth }) {
        const inner = this.parser.parseInline(tokens)
        const text = textOf(inner)
        const id = slug(text, slugs)
        if (depth === 1) {
          headings.push({ id: '', text, depth })
          return `<h1>${inner}</h1>\n`
        }
        if (depth === 2 || depth === 3) headings.push({ id, text, depth })
        return `<h${depth} id="${id}">${inner}<a class="anchor" href="#${id}" aria-label="Link to ${escapeHtml(text)}">#</a></h${depth}>\n`
      },
      link({ href, title, tokens }) {
        const url = /^(https?:|mailto:|#)/.test(href) ? href : options.resolve(href)
        if (url === undefined)
          throw new Error(`${options.source}: the link ${href} does not lead to a page of the documentation`)
        const named = title ? ` title="${escapeHtml(title)}"` : ''
        return `<a href="${escapeHtml(url)}"${named}>${this.parser.parseInline(tokens)}</a>`
      },
      code({ text, lang }) {
        const language = lang?.split(/\s/)[0] ?? ''
        if (language !== 'mermaid') return codeBlock(code(text), language)
        diagrams += 1
        return diagramBlock(text, options.diagram(diagrams))
      },
      codespan({ text }) {
        return `<code>${escapeHtml(code(text))}</code>`
      },
      table({ header, rows, align }: Tokens.Table) {
        const heads = header.map(({ tokens }) => this.parser.parseInline(tokens))
        const aligned = (index: number) => (align[index] ? ` align="${align[index]}"` : '')
        const cells = (row: Tokens.TableCell[]) =>
          row.map(
            ({ tokens }, index) =>
              `<td${aligned(index)} data-label="${escapeHtml(textOf(heads[index] ?? ''))}">${this.parser.parseInline(tokens)}</td>`,
          )
        // On a phone, tables of sentences stack; tables of figures scroll, because figures are compared.
        const stacks = header.length >= 3 && header.length <= 5 && align.every((each) => each === null)
        const kind = header.length <= 2 ? ' narrow' : stacks ? ' stacks' : ''
        return `<div class="table${kind}" role="region" aria-label="Table" tabindex="0"><table><thead><tr>${heads
          .map((head, index) => `<th${aligned(index)}>${head}</th>`)
          .join(
            '',
          )}</tr></thead><tbody>${rows.map((row) => `<tr>${cells(row).join('')}</tr>`).join('')}</tbody></table></div>\n`
      },
      image(): string {
        throw new Error(`${options.source}: images are not supported. Use an inline SVG.`)
      },
      html({ text }) {
        if (/^\s*<!--[\s\S]*-->\s*$/.test(text)) return ''
        throw new Error(`${options.source}: HTML is not allowed in guides: ${text.trim().slice(0, 60)}`)
      },
    },
  })
  const tokens = marked.lexer(markdown)
  const html = group(tokens)
    .map((run) =>
      run.length === 1
        ? marked.parser(run)
        : `<div class="tabs">${run.map((token) => marked.parser([token])).join('')}</div>\n`,
    )
    .join('')
  const first = tokens.find((token) => token.type === 'paragraph')
  return {
    title: headings[0]?.text ?? options.source,
    description: (first ? textOf(marked.parser([first])) : '').slice(0, 200),
    html,
    headings: headings.filter((heading): heading is Heading => heading.depth !== 1),
    passages: passagesOf(html),
  }
}

/**
 * Code blocks that follow one another in different tab languages are one run; every other token is a run of its own.
 */
function group(tokens: Token[]): Token[][] {
  const runs: Token[][] = []
  for (const token of tokens.filter(({ type }) => type !== 'space')) {
    const last = runs.at(-1)
    const language = tabLanguage(token)
    if (last && language && tabLanguage(last[0]) && !last.some((each) => tabLanguage(each) === language))
      last.push(token)
    else runs.push([token])
  }
  return runs
}

function tabLanguage(token: Token | undefined): string | undefined {
  const language = token?.type === 'code' ? String(token.lang ?? '') : ''
  return tabLanguages.includes(language) ? language : undefined
}

function codeBlock(text: string, language: string): string {
  const known = languages[language]
  const inner = known ? hljs.highlight(text, { language: known.grammar }).value : escapeHtml(text)
  const label = known ? ` data-label="${known.label}"` : ''
  return `<div class="code"${label}><pre tabindex="0"><code>${inner}</code></pre></div>\n`
}

function diagramBlock(text: string, svg: string | undefined): string {
  if (svg !== undefined)
    return `<figure class="diagram" role="region" aria-label="Diagram" tabindex="0">${svg}</figure>\n`
  return `<figure class="diagram"><figcaption>Diagram, as Mermaid source</figcaption>${codeBlock(text, '')}</figure>\n`
}

function putPlaceholders(text: string): string {
  return text.replaceAll(written.origin, placeholders.origin).replaceAll(written.model, placeholders.model)
}

/** Heading anchors as GitHub generates them, so that a link works in both places. */
function slug(text: string, taken: Map<string, number>): string {
  const base = text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replace(/\s/g, '-')
  const count = taken.get(base) ?? 0
  taken.set(base, count + 1)
  return count === 0 ? base : `${base}-${count}`
}

const passageCharactersMax = 8_000

function passagesOf(html: string): Passage[] {
  const parts = html.replace(/<svg[\s\S]*?<\/svg>/g, '').split(/(?=<h[1-3](?: id|>))/)
  return parts.flatMap((part) => {
    const match = /^<h[1-3](?: id="([^"]*)")?>([\s\S]*?)<\/h[1-3]>/.exec(part)
    if (!match) return []
    const text = textOf(part.slice(match[0].length)).slice(0, passageCharactersMax)
    return [{ id: match[1] ?? '', heading: textOf(match[2] ?? ''), text }]
  })
}

const entities: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"' }

function character(whole: string, name: string): string {
  if (!name.startsWith('#')) return entities[name] ?? whole
  return String.fromCodePoint(name[1] === 'x' ? Number.parseInt(name.slice(2), 16) : Number(name.slice(1)))
}

function textOf(html: string): string {
  return html
    .replace(/<a class="anchor"[^>]*>#<\/a>/g, '')
    .replace(/<\/?(?:td|th|tr|li|p|div|pre|h\d|br)\b[^>]*>/g, ' ')
    .replace(/<[^>]+>/g, '')
    .replace(/&(#?\w+);/g, character)
    .replaceAll(placeholders.origin, written.origin)
    .replaceAll(placeholders.model, written.model)
    .replace(/\s+/g, ' ')
    .trim()
}
