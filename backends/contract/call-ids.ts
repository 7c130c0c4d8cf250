/**
 * Mistral's API takes tool-call ids of exactly nine letters and digits; clients bring ids of other engines in their
 * history. Each such id is replaced by one made of its hash, so the same id is the same in every turn and a
 * conversation's prompt stays the same; two ids that would collide within one request are kept apart.
 */
const idPattern = /^[a-zA-Z0-9]{9}$/
const digits = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'

/** @param ids every id of the request, in order; answers what each is called upstream */
export function nineCharacterIds(ids: Iterable<string>): Map<string, string> {
  const all = new Set(ids)
  const taken = new Set([...all].filter((id) => idPattern.test(id)))
  const names = new Map<string, string>()
  for (const id of all) {
    let name = id
    for (let salt = 0; !idPattern.test(name) || (name !== id && taken.has(name)); salt++) name = hashed(id, salt)
    taken.add(name)
    names.set(id, name)
  }
  return names
}

/** Nine digits of base 62 from two 32-bit FNV-1a hashes. */
function hashed(text: string, salt: number): string {
  let rest = (BigInt(fnv(text, 2_166_136_261 ^ salt)) << 32n) | BigInt(fnv(text, 3_339_675_911 + salt))
  let name = ''
  for (let index = 0; index < 9; index++) {
    name += digits[Number(rest % 62n)]
    rest /= 62n
  }
  return name
}

function fnv(text: string, start: number): number {
  let hash = start >>> 0
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 16_777_619) >>> 0
  return hash
}
