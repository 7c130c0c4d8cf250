/** Reads earlier turns and items of a conversation, at most one conversation's characters at a time. */
import { budgets } from '../../backends/model/budgets.ts'
import type { PreviousTurns } from '../dialects/dialect.ts'
import { type AnswerRows, itemIdOf } from './answer-rows.ts'

/** Maximum characters and turns of one conversation. */
const conversationCharactersMax = budgets.conversationCharacters.value
const turnsMax = 1_000

/** All turns up to the response, oldest first; undefined when one is missing. */
export function storedTurns(answers: AnswerRows, previousId: string | undefined, now: number): PreviousTurns['turns'] {
  const chain: { input: unknown[]; output: unknown[] }[] = []
  let characters = 0
  for (let id: string | null = previousId ?? null; id !== null; ) {
    const row = answers.find(id, now)
    if (!row) return undefined
    characters += Number(row.characters)
    if (chain.length >= turnsMax || characters > conversationCharactersMax) return undefined
    chain.unshift({ input: answers.list(id, 'input'), output: answers.list(id, 'output') })
    id = row.previous_id === null || row.previous_id === undefined ? null : String(row.previous_id)
  }
  return chain
}

/** Reads each answer once, however many of its items are requested. */
export function storedItems(answers: AnswerRows, itemIds: readonly string[], now: number): [string, unknown][] {
  const byAnswer = Map.groupBy(itemIds, (itemId) => answers.idByItem(itemId))
  let characters = 0
  const found = new Map<string, unknown>()
  for (const [id, wanted] of byAnswer) {
    const row = answers.find(id, now)
    characters += Number(row?.characters ?? 0)
    if (!row || characters > conversationCharactersMax) continue
    const wantedIds = new Set(wanted)
    for (const each of answers.list(id, 'output')) {
      const itemId = itemIdOf(each)
      if (itemId !== undefined && wantedIds.has(itemId)) found.set(itemId, each)
    }
  }
  return itemIds.flatMap((id) => (found.has(id) ? [[id, found.get(id)]] : []))
}
