/** Statistics for small samples of yes or no, and of counts. */

export function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Linear interpolation between the two nearest ranks. */
export function quantile(values: readonly number[], q: number): number | null {
  const sorted = values.toSorted((a, b) => a - b)
  const at = (sorted.length - 1) * q
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]]
  return low === undefined || high === undefined ? null : low + (high - low) * (at - Math.floor(at))
}

/** Wilson's interval at 95 %: unlike the normal one it stays within 0 and 1, and is informative at 50 right of 50. */
export function wilson(right: number, asked: number): { low: number; high: number } {
  if (asked === 0) return { low: 0, high: 1 }
  const z = 1.959964
  const share = right / asked
  const scale = 1 + z ** 2 / asked
  const middle = (share + z ** 2 / (2 * asked)) / scale
  const half = (z / scale) * Math.sqrt((share * (1 - share)) / asked + z ** 2 / (4 * asked ** 2))
  return { low: Math.max(0, middle - half), high: Math.min(1, middle + half) }
}

/** Overlap of two answers' words, 0 to 1: the harmonic mean of precision and recall over counted words. */
export function f1(said: readonly string[], wanted: readonly string[]): number {
  const left = [...wanted]
  const common = said.filter((word) => {
    const at = left.indexOf(word)
    if (at >= 0) left.splice(at, 1)
    return at >= 0
  }).length
  return common === 0 ? 0 : (2 * common) / (said.length + wanted.length)
}
