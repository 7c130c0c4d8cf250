/** The regular expressions that all engines compile. */

/** Engines refuse a repetition of 2,000 or more. */
export const repeatsMax = 2_000
const patternMax = 1_000
/** Groups that look around or have names or flags, and references to groups. */
const special = /\(\?(?!:)|\\[1-9k]/

/** Whether every engine compiles this pattern. */
export function isPortablePattern(pattern: string): boolean {
  return isHarmlessPattern(pattern) && !special.test(pattern)
}

/** Whether no engine runs long on this pattern. llama-server v0.4.0 does on `a{5,2}`. */
export function isHarmlessPattern(pattern: string): boolean {
  if (pattern.length > patternMax) return false
  for (const [, low = '', high = ''] of pattern.matchAll(/\{(\d+)(?:,(\d*))?\}/g))
    if (Number(low) >= repeatsMax || Number(high) >= repeatsMax) return false
  return compiles(pattern, 'u') || compiles(pattern, '')
}

/** Refuses a repetition whose least number is above its most, among others. */
function compiles(pattern: string, flags: string): boolean {
  try {
    new RegExp(pattern, flags)
    return true
  } catch {
    return false
  }
}
