/** The built-in tasks. A seed selects the cases; fewer are returned if a task has fewer different ones. */
import { type Random, random } from '../../toy-model/random.ts'
import type { Case } from '../case.ts'
import { product as multiplication, sum } from './arithmetic.ts'
import { count, short } from './count.ts'
import { product } from './product.ts'
import { subject } from './subject.ts'
import { parallelCalls, toolCall, toolResult } from './tools.ts'
import { unknown } from './unknown.ts'

const TASKS: Readonly<Record<string, (random: Random) => Case>> = {
  sums: sum,
  products: multiplication,
  tools: toolCall,
  'tools-result': toolResult,
  'tools-parallel': parallelCalls,
  subject,
  count,
  'count-short': short,
  product,
  unknown,
}

export const taskNames: readonly string[] = Object.keys(TASKS)

const triesPerCase = 40

export function builtIn(task: string, count: number, seed: number): Case[] {
  const make = TASKS[task]
  if (!make) throw new Error(`no task ${task}. Use one of ${taskNames.join(', ')}`)
  const source = random(seed)
  const cases = new Map<string, Case>()
  for (let tries = 0; cases.size < count && tries < count * triesPerCase; tries++) {
    const one = make(source)
    if (!cases.has(one.id)) cases.set(one.id, one)
  }
  return [...cases.values()]
}
