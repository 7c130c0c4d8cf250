/** Compares versions by their leading numbers: `0.19.1` is older than `0.20`, `0.20.0rc1` is not. */
export function isOlder(version: string, than: string): boolean {
  const a = numbers(version)
  const b = numbers(than)
  for (let index = 0; index < Math.max(a.length, b.length); index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}

function numbers(version: string): number[] {
  return (/\d+(\.\d+)*/.exec(version)?.[0] ?? '').split('.').map(Number)
}
