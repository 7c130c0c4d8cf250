/** A statement as a page to print: no script, and every text is escaped. */
import { html } from 'hono/html'
import { dollars } from '../../backends/model/money.ts'
import type { Statement } from '../tenant/statements/statement.ts'

/** Allows nothing but the page's own style. */
export const statementPolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

const style = `body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#111}
table{width:100%;margin:1rem 0}th,td{text-align:left;padding:.3rem .5rem;overflow-wrap:anywhere}
tr:nth-child(even){background:#f3f3f3}.amount{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
@media print{body{margin:0}thead{display:table-header-group}tr{break-inside:avoid}}`

export function statementPage(statement: Statement): string {
  const { name, tenantId, firstDay, lastDay, timeZone, status, entries, usage, entriesLeftOut } = statement
  const amount = (nano: number) => html`<td class="amount">${dollars(nano)}</td>`
  const total = (title: string, nano: number) => html`<tr><th scope="row">${title}</th>${amount(nano)}</tr>`
  return String(html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Statement ${statement.period} · ${name}</title><style>${style}</style></head>
<body><h1>Statement ${statement.period}</h1>
<p>${name} (${tenantId})<br>${firstDay} to ${lastDay}, ${timeZone}${status === 'open' ? '. This month is not over: later entries change it.' : ''}</p>
<p>Amounts are in US dollars.</p>
<table><tbody>
${total('Opening balance', statement.openingBalanceNano)}
${total('Credits', statement.creditsNano)}
${total('Reversals of credits', statement.reversalsNano)}
${total('Charges', statement.chargesNano)}
${total('Refunds', statement.refundsNano)}
${total('Usage', statement.usageNano)}
${total('Closing balance', statement.closingBalanceNano)}
</tbody></table>
<h2>Usage</h2>
<table><thead><tr><th>Model</th><th>Effort</th><th class="amount">Requests</th><th class="amount">Prompt tokens</th>
<th class="amount">of them cached</th><th class="amount">Output tokens</th><th class="amount">Amount</th></tr></thead><tbody>
${usage.map(
  (each) => html`<tr><td>${each.model}</td><td>${each.effort}</td><td class="amount">${each.requests}</td>
<td class="amount">${each.promptTokens}</td><td class="amount">${each.cachedTokens}</td><td class="amount">${each.outputTokens}</td>${amount(each.amountNano)}</tr>`,
)}
</tbody></table>
<h2>Entries</h2>
<table><thead><tr><th>Time (UTC)</th><th>Kind</th><th>Id</th><th>Note</th><th class="amount">Amount</th></tr></thead><tbody>
${entries.map(
  (each) => html`<tr><td>${new Date(each.at).toISOString().slice(0, 16).replace('T', ' ')}</td><td>${each.kind}</td>
<td>${each.id ?? ''}</td><td>${each.note ?? ''}</td>${amount(each.amountNano)}</tr>`,
)}
</tbody></table>
${entriesLeftOut ? html`<p>More entries are in the sums than are listed here.</p>` : ''}
</body></html>
`)
}
