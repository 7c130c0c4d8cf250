/** Stands in for the documentation's routes, which need rendered guides. */
import { Hono } from 'hono'

export const docs = new Hono()
export const reference = new Hono()
