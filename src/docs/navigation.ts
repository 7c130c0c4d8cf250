/** The pages of the documentation, in reading order. Users and operators have separate pages. */

const audiences = ['users', 'operators'] as const
export type Audience = (typeof audiences)[number]

export interface NavigationPage {
  path: string
  title: string
  audience: Audience
  /** The heading in the sidebar. */
  section: string
  /** The Markdown file, relative to `src/docs/guides`; absent for pages that are generated from the schemas. */
  source?: string
}

const page = (audience: Audience, section: string, path: string, title: string, source?: string): NavigationPage => ({
  path,
  title,
  audience,
  section,
  ...(source !== undefined && { source }),
})

const decisions = [
  ['0001-count-at-the-engine', 'Count tokens at the engine'],
  ['0002-one-writer-per-tenant', 'One writer per tenant'],
  ['0003-reserve-then-settle', 'Reserve, then settle'],
  ['0004-no-queue-on-the-worker', 'No queue on the worker'],
  ['0005-pools-by-effort', 'Effort selects the pool'],
  ['0006-embedded-engine-in-a-child-process', 'Engine in a child process'],
  ['0007-own-signed-wire', 'Signed messages'],
  ['0008-hash-chained-ledger', 'Hash-chained ledger'],
  ['0009-grammar-for-structured-output', 'Schemas become grammars'],
  ['0010-documentation-from-the-schemas', 'Documentation from schemas'],
] as const

export const navigation: readonly NavigationPage[] = [
  page('users', 'Start', '/docs', 'Overview', 'index.md'),
  page('users', 'Start', '/docs/quickstart', 'Quickstart', 'quickstart.md'),
  page('users', 'Start', '/docs/sdks', 'SDKs and coding agents', 'sdks.md'),
  page('users', 'Guides', '/docs/api', 'Use the API', 'api.md'),
  page('users', 'Guides', '/docs/requests', 'Requests and usage', 'requests.md'),
  page('users', 'Guides', '/docs/statements', 'Statements and time', 'statements.md'),
  page('users', 'Guides', '/docs/migrate', 'Migrate', 'migrate.md'),
  page('users', 'Guides', '/docs/errors', 'Errors', 'errors.md'),
  page('users', 'Guides', '/docs/limits', 'Limits and stored data', 'limits.md'),
  page('users', 'Guides', '/docs/alerts', 'Alerts', 'alerts.md'),
  page('users', 'Guides', '/docs/billing', 'Buy credit', 'billing.md'),
  page('users', 'Reference', '/docs/reference', 'API reference'),
  page('users', 'Reference', '/docs/glossary', 'Glossary', 'glossary.md'),

  page('operators', 'Start', '/docs/operators', 'Overview', 'operators.md'),
  page('operators', 'Start', '/docs/operators/architecture', 'Architecture', 'architecture.md'),
  page('operators', 'Start', '/docs/operators/hardware', 'Choose hardware', 'hardware.md'),
  page('operators', 'Start', '/docs/operators/deploy', 'Deploy', 'deploy.md'),
  page('operators', 'Guides', '/docs/operators/operate', 'Operate', 'operate.md'),
  page('operators', 'Guides', '/docs/operators/tenants', 'A tenant’s life', 'tenants.md'),
  page('operators', 'Guides', '/docs/operators/backup', 'Backup and restore', 'backup.md'),
  page('operators', 'Guides', '/docs/operators/keys', 'Keys and rotation', 'keys.md'),
  page('operators', 'Guides', '/docs/operators/alerts', 'Alerts', 'operator-alerts.md'),
  page('operators', 'Guides', '/docs/operators/payments', 'Payments', 'payments.md'),
  page('operators', 'Guides', '/docs/operators/engines', 'Engines', 'engines.md'),
  page('operators', 'Guides', '/docs/operators/conformance', 'Engine conformance', '../../../backends/README.md'),
  page('operators', 'Guides', '/docs/operators/evaluate', 'Evaluate a model', 'evaluate.md'),
  page('operators', 'Guides', '/docs/operators/benchmarks', 'Benchmarks', 'benchmarks.md'),
  page('operators', 'Guides', '/docs/operators/security', 'Security', '../../../SECURITY.md'),
  page('operators', 'Reference', '/docs/operators/reference', 'Operator reference'),
  page('operators', 'Reference', '/docs/operators/settings', 'Settings', 'settings.md'),
  ...decisions.map(([name, title]) =>
    page('operators', 'Decisions', `/docs/operators/decisions/${name.slice(5)}`, title, `decisions/${name}.md`),
  ),
]

export function findPage(path: string): NavigationPage | undefined {
  return navigation.find((each) => each.path === path)
}

/** The previous and the next page for the same audience. */
export function neighbours(page: NavigationPage): [NavigationPage | undefined, NavigationPage | undefined] {
  const pages = navigation.filter(({ audience }) => audience === page.audience)
  const index = pages.indexOf(page)
  return [pages[index - 1], pages[index + 1]]
}
