/** Progress of the run: a moving bar on a terminal, a line for every tenth elsewhere. Both go to stderr. */

export interface Progress {
  step(done: number, right: number, failed: number): void
  /** Prints a line above the bar. */
  say(text: string): void
  end(): void
}

export function progress(total: number, stream: NodeJS.WriteStream, now: () => number): Progress {
  const startedAt = now()
  const bar = stream.isTTY
  let shown = ''
  let tenth = -1
  const clear = () => (bar && shown ? '\r\u001b[2K' : '')
  return {
    step(done, right, failed) {
      const line = lineOf(
        { done, total, right, failed, seconds: (now() - startedAt) / 1_000 },
        bar ? stream.columns : 0,
      )
      if (bar) stream.write(`${clear()}${line}`)
      else if (Math.floor((done * 10) / total) > tenth) stream.write(`${line}\n`)
      tenth = Math.max(tenth, Math.floor((done * 10) / total))
      shown = line
    },
    say(text) {
      stream.write(`${clear()}${text}\n${bar ? shown : ''}`)
    },
    end() {
      if (bar && shown) stream.write('\n')
    },
  }
}

interface State {
  done: number
  total: number
  right: number
  failed: number
  seconds: number
}

const barWidthMax = 30

/** With `columns` 0 there is no bar, only text. The remaining time is estimated from the finished cases. */
export function lineOf({ done, total, right, failed, seconds }: State, columns: number): string {
  const left = done === 0 ? null : Math.round((seconds / done) * (total - done))
  const words = [
    `${done} / ${total}`,
    `${right} right`,
    ...(failed > 0 ? [`${failed} failed`] : []),
    ...(left !== null && done < total ? [`${clock(left)} left`] : []),
  ].join(', ')
  const barWidth = Math.min(barWidthMax, columns - words.length - 4)
  if (barWidth < 5) return words
  const full = Math.round((done / total) * barWidth)
  return `${'█'.repeat(full)}${'░'.repeat(barWidth - full)}  ${words}`
}

function clock(seconds: number): string {
  const minutes = Math.floor(seconds / 60)
  return minutes === 0 ? `${seconds} s` : `${minutes} min ${seconds % 60} s`
}
