/**
 * Mistral's API accepts only tool-call ids of nine letters and digits, but a client's history can contain ids of other
 * engines. Such an id is replaced by its hash, so a conversation's prompt is the same in every turn. Ids that collide
 * within one request get different hashes.
 */
const idPattern = /^[a-zA-Z0-9]{9}$/
const digits = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'

/**
 * Maps each id of a request to its upstream id.
 * @param ids all ids of the request, in order
 */
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
export function hashed(text: string, salt: number): string {
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
