/**
 * Filters an engine's output for the log: lines are printable and limited in length and number. When the library
 * refuses a grammar, it prints the grammar with text from the client; those lines are dropped.
 */
import { budgets } from '../../backends/model/budgets.ts'
import { cleanText } from '../../backends/model/clean-text.ts'

const charactersMax = 300
/** Matches the message before a grammar dump; below, the dump itself, one rule per line. */
const grammarError = /error parsing grammar|failed to parse grammar|left recursion/i
const grammarRule = /::=/

export class LogLines {
  readonly #log: (line: string) => void
  readonly #now: () => number
  #second = 0
  #lines = 0
  #dropped = 0

  /** @param now in milliseconds */
  constructor(log: (line: string) => void, now: () => number) {
    this.#log = log
    this.#now = now
  }

  push(line: string): void {
    if (line.trim() === '') return
    if (this.#isOfDump(line)) return
    const second = Math.floor(this.#now() / 1_000)
    if (second !== this.#second) this.#turn(second)
    this.#lines += 1
    if (this.#lines <= budgets.engineLogLines.value) this.#log(cleanText(line, charactersMax))
    else this.#dropped += 1
  }

  #turn(second: number): void {
    this.#second = second
    this.#lines = 0
    if (this.#dropped > 0) this.#log(`${this.#dropped} more lines in one second were not logged`)
    this.#dropped = 0
  }

  #isOfDump(line: string): boolean {
    if (grammarError.test(line)) {
      this.push('the library refused a grammar')
      return true
    }
    return grammarRule.test(line)
  }
}
