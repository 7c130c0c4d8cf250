/** The environment variables of `npm start`. The descriptions are the text of the settings guide. */

import { z } from 'zod'
import { readFields } from '../../backends/model/field-fault.ts'

export const StartEnvironment = z.object({
  PORT: z
    .string()
    .default('8787')
    .refine(isPort, { error: ({ input }) => `must be a number from 1 to 65535, not "${input}"` })
    .transform(Number)
    .meta({ values: '1 to 65,535', description: 'Port of the gateway.' }),
  TRAMONTANE_HOME: z
    .string()
    .optional()
    .describe('Folder of the state: keys, ledgers, receipts. Default: `.tramontane` in the repository.'),
  TRAMONTANE_MODEL: z
    .string()
    .optional()
    .describe(
      'Path of a GGUF file of architecture `mistral4` or `deepseek2`. Default: the toy model in the repository.',
    ),
  TRAMONTANE_MODEL_ID: z
    .string()
    .optional()
    .describe('Id of the served model. Default: `tramontane-tiny` for the toy model, otherwise `mistral-small-4`.'),
  TRAMONTANE_INSPECTOR_PORT: z
    .string()
    .optional()
    .refine((text) => text === undefined || isPort(text), { error: ({ input }) => `must be a port, not "${input}"` })
    .transform((text) => (text === undefined ? undefined : Number(text)))
    .meta({
      values: '1 to 65,535',
      description: 'Port of the V8 inspector of the gateway, for profiles of CPU and memory. Default: no inspector.',
    }),
  TRAMONTANE_CLIENT_ADDRESS_HEADER: z
    .string()
    .regex(/^[a-z0-9-]{1,64}$/, 'must be the name of a header in lower case')
    .optional()
    .describe(
      'Header with the IP address of the client, which your reverse proxy sets and no client can, for example `x-real-ip`. Default: none; every client has the address 127.0.0.1.',
    ),
  TRAMONTANE_SPILL: z.string().optional().meta({
    values: '`on`, `off`',
    description: 'Default: `on`. With `off`, requests stay in their preferred pool while it has a worker.',
  }),
})

/** Throws an error that names the variable. */
export function readStartEnvironment(variables: Record<string, string | undefined>): z.infer<typeof StartEnvironment> {
  const read = readFields(StartEnvironment, variables)
  if (read.ok) return read.data
  throw new Error(`${read.fault.field} ${read.fault.message}`)
}

function isPort(text: string): boolean {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  return Number.isInteger(port) && port > 0 && port < 65_536
}
