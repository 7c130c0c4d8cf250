/**
 * The fields of the vendors' request types, read with the TypeScript compiler from the packages that are installed. A
 * field is its path, with the role or type of the objects on the way: `messages[]<user>.content[]<text>.text`.
 */
import { fileURLToPath } from 'node:url'
import { API, type Checker, type Type, TypeFlags } from 'typescript/unstable/sync'
import type { VendorRequests } from './requests.ts'

/** The fields of each request. Takes seconds: it starts the compiler. */
export function vendorFields(): Record<keyof VendorRequests, string[]> {
  const folder = fileURLToPath(new URL('.', import.meta.url))
  const api = new API({ cwd: folder })
  try {
    const project = api.updateSnapshot({ openProjects: [`${folder}tsconfig.json`] }).getProjects()[0]
    const file = project?.program.getSourceFile(`${folder}requests.ts`)
    if (!project || !file) throw new Error('the vendors’ types cannot be read')
    const { checker } = project
    const module = checker.getSymbolAtLocation(file)
    const requests = module && checker.getExportsOfModule(module)[0]
    if (!requests) throw new Error('the vendors’ types cannot be read')
    const roots = checker.getPropertiesOfType(checker.getDeclaredTypeOfSymbol(requests))
    const fields = roots.map((root) => [root.name, fieldsIn(checker, checker.getTypeOfSymbol(root))])
    return Object.fromEntries(fields) as Record<keyof VendorRequests, string[]>
  } finally {
    api.close()
  }
}

/** A type within itself is left out. */
function fieldsIn(checker: Checker, root: Type | undefined): string[] {
  const fields = new Set<string>()
  // Compiling takes a call for each question, so a type is read once.
  const known = new Map<number, [name: string, type: Type | undefined][]>()
  const propertiesOf = (type: Type) => {
    const read =
      known.get(type.id) ??
      checker
        .getPropertiesOfType(type)
        .map((each): [string, Type | undefined] => [each.name, checker.getTypeOfSymbol(each)])
    known.set(type.id, read)
    return read
  }
  const visit = (type: Type | undefined, place: string, above: readonly number[]): void => {
    if (!type || above.includes(type.id)) return
    const inside = [...above, type.id]
    if (type.flags & TypeFlags.Union) {
      for (const each of membersOf(type)) visit(each, place, inside)
      return
    }
    if (!isObject(type)) return
    if (checker.isArrayLikeType(type)) {
      for (const item of checker.getTypeArguments(type as never)) visit(item, `${place}[]`, inside)
      return
    }
    const properties = propertiesOf(type)
    const here = place + kindOf(properties)
    const start = here === '' ? '' : `${here}.`
    for (const [name, inner] of properties) {
      fields.add(start + name)
      visit(inner, start + name, inside)
    }
  }
  visit(root, '', [])
  return [...fields].sort()
}

const membersOf = (type: Type) => (type as unknown as { getTypes(): readonly Type[] }).getTypes()

/** An open set of words is an intersection of a string with an object without fields. */
function isObject(type: Type): boolean {
  if (type.flags & TypeFlags.Intersection) return membersOf(type).every(isObject)
  return (type.flags & TypeFlags.Object) !== 0
}

/** `<user>` or `<text>`: the words that an object's `role` or `type` may have. */
function kindOf(properties: readonly (readonly [name: string, type: Type | undefined])[]): string {
  for (const kind of ['role', 'type']) {
    const words = wordsOf(properties.find(([name]) => name === kind)?.[1])
    if (words.length > 0) return `<${words.slice(0, 2).join('|')}>`
  }
  return ''
}

function wordsOf(type: Type | undefined): string[] {
  if (!type) return []
  if (type.flags & TypeFlags.Union) return membersOf(type).flatMap(wordsOf)
  return type.flags & TypeFlags.StringLiteral ? [String((type as unknown as { value: unknown }).value)] : []
}
