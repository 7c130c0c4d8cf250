/** The rendered guides: output of the build, input of the gateway. */

export interface Site {
  /** A hash of all inputs of the build. */
  version: string
  pages: Record<string, RenderedPage>
  assets: Record<AssetName, string>
}

export type AssetName = 'docs.css' | 'docs.js' | 'icon.svg'

export interface RenderedPage {
  title: string
  /** The first paragraph as plain text. */
  description: string
  html: string
  headings: Heading[]
  passages: Passage[]
}

export interface Heading {
  id: string
  text: string
  depth: 2 | 3
}

/** A search result's unit: a heading and the text below it. */
export interface Passage {
  /** Empty for the page's own title. */
  id: string
  heading: string
  text: string
}

/** One row of the search index that the browser loads. */
export interface SearchRow {
  url: string
  page: string
  heading: string
  text: string
}

/** The address and model in the guides, which the gateway replaces by its own when it serves them. */
export const written = { origin: 'http://127.0.0.1:8787', model: 'tramontane-tiny' }
/** Placeholders without characters that a highlighter or HTML would change. */
export const placeholders = { origin: 'TRAMONTANEORIGIN', model: 'TRAMONTANEMODEL' }

export interface SitePlace {
  origin: string
  model: string
}

export function fill(text: string, { origin, model }: SitePlace): string {
  return text.replaceAll(placeholders.origin, escapeHtml(origin)).replaceAll(placeholders.model, escapeHtml(model))
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
