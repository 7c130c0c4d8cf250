/** Lists: the parameters of a page, its rows, and the schema of the answer. */
import { z } from 'zod'

const limit = z.coerce
  .number()
  .pipe(z.int().min(1).max(1_000))
  .default(100)
  .describe('Maximum number of items in the answer, from 1 to 1,000.')
  .meta({ examples: [100] })

/** For lists in the order of their ids. */
export const Page = z.object({
  limit,
  after: z
    .string()
    .max(200)
    .default('')
    .describe('The `next` of the previous page, at most 200 characters. Without it, the list starts at the beginning.')
    .meta({ examples: ['acme'] }),
})

/** For lists of numbered rows, newest first. */
export const PageBefore = z.object({
  limit,
  before: z.coerce
    .number()
    .pipe(z.int().min(1))
    .default(Number.MAX_SAFE_INTEGER)
    .describe('The `next` of the previous page, at least 1. Without it, the list starts with the newest item.')
    .meta({ examples: [1_204] }),
})

const lastPage = 'null on the last page.'

/** @param id the component's name in the OpenAPI document */
export function listOf<Item extends z.ZodType>(item: Item, id: string) {
  const next = z.string().nullable().describe(`The value of \`after\` for the next page; ${lastPage}`)
  return z.strictObject({ data: z.array(item), next }).meta({ id })
}

/** A list of numbered rows, newest first. */
export function listBefore<Item extends z.ZodType>(item: Item, id: string) {
  const next = z.int().nullable().describe(`The value of \`before\` for the next page; ${lastPage}`)
  return z.strictObject({ data: z.array(item), next }).meta({ id })
}

/** One page of `rows`. Query one row more than `limit`, so that `next` is exact. */
export function onePage<Item, Id extends string | number>(rows: Item[], limit: number, idOf: (row: Item) => Id) {
  const data = rows.slice(0, limit)
  const last = data.at(-1)
  return { data, next: rows.length > limit && last !== undefined ? idOf(last) : null }
}

/** A list that always fits one page. */
export function wholeList<Item>(data: Item[]): { data: Item[]; next: null } {
  return { data, next: null }
}
