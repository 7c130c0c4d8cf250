/** Reads and validates bodies and queries with a schema; a failure names the field. */

import type { z } from 'zod'
import { budgets } from '../../backends/model/budgets.ts'
import { faultText, readFields } from '../../backends/model/field-fault.ts'
import { readJsonBody } from './body.ts'
import { GatewayError } from './errors.ts'
import { snakeName } from './snake-case.ts'

/** The body as JSON; an empty object when there is no body. */
export async function readBody(request: Request): Promise<unknown> {
  const absent = request.body === null || request.headers.get('content-length') === '0'
  return absent ? {} : (await readJsonBody(request, { bytesMax: budgets.adminBodyBytes.value })).value
}

export function parse<Schema extends z.ZodType>(value: unknown, schema: Schema): z.infer<Schema> {
  const read = readFields(schema, value)
  if (read.ok) return read.data
  throw new GatewayError('invalid_value', faultText(read.fault), { param: read.fault.field })
}

/** Runs a route whose field names are snake_case on the wire: errors name the field as the client wrote it. */
export async function namingInSnake<Value>(work: () => Value | Promise<Value>): Promise<Value> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof GatewayError) || error.param === null) throw error
    const param = snakeName(error.param)
    const { retryAfterMs, headers } = error
    const message = error.message.replace(error.param, param)
    throw new GatewayError(error.code, message, { param, retryAfterMs, headers, cause: error })
  }
}

/** Checks the parameters of a path. A value of the wrong form names nothing, so the answer is 404. */
export function checkParameters(values: Record<string, string>, schemas: Readonly<Record<string, z.ZodType>>): void {
  for (const [name, schema] of Object.entries(schemas)) {
    const read = readFields(schema, values[name])
    if (read.ok) continue
    const param = snakeName(name)
    const message = `${param}: ${read.fault.message.replace(/\.$/, '')}. Check the path.`
    throw new GatewayError('not_found', message, { param })
  }
}
