/** The frame around every page of the documentation. */
import { html, raw } from 'hono/html'
import { type Audience, type NavigationPage, navigation, neighbours } from './navigation.ts'
import type { Heading } from './site.ts'

export interface Framed {
  page: NavigationPage
  title: string
  description: string
  html: string
  headings: Heading[]
}

const labels: Record<Audience, string> = { users: 'API', operators: 'Operators' }
const homes: Record<Audience, string> = { users: '/docs', operators: '/docs/operators' }

/** @param version changes the URLs of scripts and styles with their content */
export function frame({ page, title, description, html: content, headings }: Framed, version: string): string {
  return document(
    {
      title: page.path === '/docs' ? 'Tramontane' : `${title} · Tramontane`,
      description,
      audience: page.audience,
      version,
    },
    html`<div class="frame">
${sidebar(page)}
<div class="page">
<main id="content">${raw(content)}${turn(page)}</main>
${contents(headings)}
</div>
</div>`,
    page,
  )
}

export function missing(version: string): string {
  return document(
    { title: 'Page not found · Tramontane', description: '', audience: 'users', version },
    html`<div class="page"><main id="content"><h1>Page not found</h1><p>The documentation has no page at this address. Use the search, or
begin with the <a href="/docs">overview</a>.</p></main></div>`,
    undefined,
  )
}

interface PageHead {
  title: string
  description: string
  audience: Audience
  version: string
}

function document(
  { title, description, audience, version }: PageHead,
  body: unknown,
  page: NavigationPage | undefined,
): string {
  return String(html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title}</title>
${description ? html`<meta name="description" content="${description}">` : ''}
<link rel="icon" href="/docs/assets/icon.svg?v=${version}" type="image/svg+xml">
<link rel="stylesheet" href="/docs/assets/docs.css?v=${version}">
<script src="/docs/assets/docs.js?v=${version}" defer></script>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header class="bar">
${page ? html`<button class="menu" type="button" popovertarget="menu">Menu</button>` : ''}
<a class="brand" href="/docs"><img src="/docs/assets/icon.svg?v=${version}" alt="" width="22" height="22"><span>Tramontane</span></a>
<nav class="audiences" aria-label="Readers">${(['users', 'operators'] as const).map(
    (each) => html`<a href="${homes[each]}"${each === audience ? raw(' aria-current="true"') : ''}>${labels[each]}</a>`,
  )}</nav>
<form class="search" role="search" data-index="/docs/assets/search-${audience}.json?v=${version}" hidden>
<input type="search" placeholder="Search" aria-label="Search the documentation" autocomplete="off" spellcheck="false" role="combobox" aria-expanded="false" aria-controls="results" aria-autocomplete="list">
<ul class="results" id="results" role="listbox" aria-label="Results" hidden></ul>
</form>
</header>
${body}
</body>
</html>
`)
}

function sidebar(page: NavigationPage) {
  const pages = navigation.filter(({ audience }) => audience === page.audience)
  const sections = [...new Set(pages.map(({ section }) => section))]
  return html`<nav class="side" id="menu" aria-label="Pages" popover>${sections.map(
    (section) =>
      html`<h2>${section}</h2><ul>${pages
        .filter((each) => each.section === section)
        .map(
          ({ path, title }) =>
            html`<li><a href="${path}"${path === page.path ? raw(' aria-current="page"') : ''}>${title}</a></li>`,
        )}</ul>`,
  )}</nav>`
}

function contents(headings: Heading[]) {
  if (headings.length < 2) return ''
  return html`<nav class="toc" aria-label="On this page"><h2>On this page</h2><ul>${headings.map(
    ({ id, text, depth }) => html`<li${depth === 3 ? raw(' class="deep"') : ''}><a href="#${id}">${text}</a></li>`,
  )}</ul></nav>`
}

function turn(page: NavigationPage) {
  const [before, after] = neighbours(page)
  return html`<nav class="turn" aria-label="Previous and next page">${before ? html`<a class="previous" href="${before.path}" rel="prev"><small>Previous</small>${before.title}</a>` : ''}${after ? html`<a class="next" href="${after.path}" rel="next"><small>Next</small>${after.title}</a>` : ''}</nav>`
}
