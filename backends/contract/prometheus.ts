/** Reads metrics in Prometheus text format. A metric's value is the sum over its labels. */
export function readMetrics(text: string): Map<string, number> {
  const metrics = new Map<string, number>()
  for (const line of text.split('\n')) {
    const [, name = '', value = ''] = /^([a-zA-Z_:][\w:]*)(?:\{.*\})?\s+(\S+)/.exec(line) ?? []
    const number = Number(value)
    if (name !== '' && Number.isFinite(number)) metrics.set(name, (metrics.get(name) ?? 0) + number)
  }
  return metrics
}
