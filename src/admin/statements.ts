/** `/admin/tenants/:tenantId/statements`: the same statements that the tenant's own keys get. */
import { z } from 'zod'
import type { Route } from '../http/route.ts'
import type { Requester } from '../tenant/permissions.ts'
import { statementCsv } from '../tenant/statements/statement-csv.ts'
import { accept, tenantStub } from '../tenant/stub.ts'
import { StatementAnswer, StatementList, statementFiles } from './answers/statements.ts'
import type { AdminContext } from './context.ts'
import { operatorRoute } from './operator-route.ts'
import { TenantId } from './parameters.ts'
import { statementPage, statementPolicy } from './statement-page.ts'

export const StatementName = z
  .string()
  .regex(/^2[01]\d{2}-(0[1-9]|1[0-2])$/, 'must be a month such as 2026-11')
  .describe('The calendar month in which the statement begins.')
  .meta({ examples: ['2026-11'] })

export const StatementQuery = z.object({
  format: z
    .enum(['json', 'csv', 'html'])
    .default('json')
    .describe('Format of the answer. `html` is a page to print.')
    .meta({ examples: ['json'] }),
})

export const statements: readonly Route[] = [
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/statements',
      params: { tenantId: TenantId },
      id: 'listStatements',
      tag: 'Money',
      summary: 'List a tenant’s monthly statements, newest first',
      scope: 'usage:read',
      answer: StatementList,
    },
    async (context, { params }) => answerStatements(context, params.tenantId, { kind: 'operator' }),
  ),
  operatorRoute(
    {
      method: 'get',
      path: '/admin/tenants/{tenantId}/statements/{period}',
      params: { tenantId: TenantId, period: StatementName },
      id: 'retrieveStatement',
      tag: 'Money',
      summary: 'Retrieve a tenant’s statement of a month',
      scope: 'usage:read',
      query: StatementQuery,
      answer: StatementAnswer,
      otherAnswers: statementFiles,
    },
    (context, { params, query }) =>
      answerStatement(context, params.tenantId, { kind: 'operator' }, params.period, query.format),
  ),
]

export async function answerStatements(context: AdminContext, tenantId: string, by: Requester): Promise<object> {
  const data = accept(await tenantStub(context.env, tenantId).listStatements(by))
  return { object: 'list', data, next: null }
}

export async function answerStatement(
  context: AdminContext,
  tenantId: string,
  by: Requester,
  period: string,
  format: z.infer<typeof StatementQuery>['format'],
): Promise<object> {
  const statement = accept(await tenantStub(context.env, tenantId).showStatement(by, period))
  if (format === 'json') return { object: 'statement', ...statement }
  const [type, body] =
    format === 'csv' ? ['text/csv', statementCsv(statement)] : ['text/html', statementPage(statement)]
  const disposition = format === 'csv' ? 'attachment' : 'inline'
  return context.body(body, 200, {
    'content-type': `${type}; charset=utf-8`,
    'content-disposition': `${disposition}; filename="statement-${tenantId}-${period}.${format}"`,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...(format === 'html' && { 'content-security-policy': statementPolicy }),
  })
}
