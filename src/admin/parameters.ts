/** The ids in the paths of operators' and tenants' routes. */
import { z } from 'zod'
import { workerIdPattern } from '../../backends/wire/worker-key.ts'
import { idPattern } from '../auth/api-key.ts'

export const TenantId = z
  .string()
  .regex(idPattern, 'must be 4 to 24 lower-case letters or digits')
  .describe('Id of the tenant: 4 to 24 lower-case letters or digits.')
  .meta({ examples: ['acme'] })

export const KeyId = z
  .string()
  .regex(idPattern, 'must be 4 to 24 lower-case letters or digits')
  .describe('Id of the key, as in the answer that created it: 4 to 24 lower-case letters or digits.')
  .meta({ examples: ['k2v7mq3xw5ndab4e'] })

export const OperatorKeyId = z
  .string()
  .regex(/^[a-z2-7]{16}$/, 'must be 16 characters of a to z and 2 to 7')
  .describe('Id of the operator key: 16 characters of a to z and 2 to 7.')
  .meta({ examples: ['o4dz5c7hq2rtw3ya'] })

export const MemberId = z
  .string()
  .min(1)
  .max(200)
  .regex(
    /^[\p{L}\p{N}_][^\s/]*$/u,
    'must be an e-mail address or an id: a letter or digit first, without spaces or slashes',
  )
  .overwrite((text) => (text.includes('@') ? text.toLowerCase() : text))
  .describe(
    'E-mail address or id of the member: at most 200 characters without spaces and slashes. The case of an e-mail address does not count.',
  )
  .meta({ examples: ['ada@example.com'] })

export const PlanId = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,39}$/, 'must be 1 to 40 lower-case letters, digits or dashes')
  .describe('Id of the plan: 1 to 40 lower-case letters, digits or dashes.')
  .meta({ examples: ['starter'] })

export const WorkerId = z
  .string()
  .regex(workerIdPattern, 'must be 1 to 40 lower-case letters, digits or dashes')
  .describe('Id of the worker: 1 to 40 lower-case letters, digits or dashes.')
  .meta({ examples: ['gpu-1'] })

export const RequestId = z
  .string()
  .min(1)
  .max(64)
  .describe('Id of the request, as in the header `x-request-id` of its answer: at most 64 characters.')
  .meta({ examples: ['req_019ad0c2f4b7e8a1903c5d6e7f8091a2'] })

export const DispatchId = z
  .string()
  .min(1)
  .max(64)
  .describe('Id of the dispatch: the request’s id, a dot and the number of the attempt. At most 64 characters.')
  .meta({ examples: ['req_019ad0c2f4b7e8a1903c5d6e7f8091a2.1'] })
