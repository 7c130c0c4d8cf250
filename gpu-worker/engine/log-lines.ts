/**
 * What an engine prints, as lines for the log: short, printable and few. The library prints a grammar that it refuses
 * with all of the client's words in it; those lines are left out.
 */
import { budgets } from '../../backends/model/budgets.ts'
import { cleanText } from '../../backends/model/clean-text.ts'

const charactersMax = 300
/** The line that a dump of a grammar follows, and the lines of the dump: each is one rule. */
const grammarError = /error parsing grammar|failed to parse grammar|left recursion/i
const ofGrammar = /::=/

export class LogLines {
  readonly #log: (line: string) => void
  readonly #now: () => number
  #second = 0
  #lines = 0
  #left = 0

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
    else this.#left += 1
  }

  #turn(second: number): void {
    this.#second = second
    this.#lines = 0
    if (this.#left > 0) this.#log(`${this.#left} more lines within one second were left out`)
    this.#left = 0
  }

  #isOfDump(line: string): boolean {
    if (grammarError.test(line)) {
      this.push('the library refused a grammar')
      return true
    }
    return ofGrammar.test(line)
  }
}
