/** Programming problems with tests: the answer is a program, which the sandbox runs. */
import { inflateSync } from 'node:zlib'
import { z } from 'zod'
import { type Answer, type Case, caseOf, type Judgement, type Program, verdict } from '../case.ts'
import { lastCode } from '../extract.ts'
import { type Reading, readLines } from './jsonl.ts'

const Test = z.object({
  input: z.string(),
  output: z.string(),
  testtype: z.enum(['stdin', 'functional']).default('stdin'),
})
type Test = z.infer<typeof Test>

const Row = z.object({
  question_content: z.string().min(1),
  starter_code: z.string().nullish(),
  public_test_cases: z.union([z.string(), z.array(Test)]).optional(),
  private_test_cases: z.union([z.string(), z.array(Test)]).optional(),
  metadata: z.union([z.string(), z.record(z.string(), z.unknown())]).nullish(),
})

export function livecode(text: string): Reading<Case> {
  return readLines(text, Row, (row) => {
    const tests = [...testsOf(row.public_test_cases), ...testsOf(row.private_test_cases)]
    if (tests.length === 0) throw new Error('there are no test cases')
    const functionName = tests.some((test) => test.testtype === 'functional') ? nameOf(row.metadata) : null
    const starter = row.starter_code?.trim() ?? ''
    return caseOf('livecode', [{ role: 'user', content: order(row.question_content, starter) }], (answer) =>
      judge(answer, tests, functionName, starter),
    )
  })
}

function order(question: string, starter: string): string {
  const form = starter
    ? `Write your solution with this beginning:\n\n\`\`\`python\n${starter}\n\`\`\``
    : 'Write a Python program that reads the input from stdin and writes the answer to stdout.'
  return `${question}\n\n${form}\n\nGive the whole program in one fenced code block.`
}

function judge(answer: Answer, tests: readonly Test[], functionName: string | null, starter: string): Judgement {
  const found = lastCode(answer.content)
  if (!found) return verdict(false)
  const language = languageOf(found.language, starter)
  return {
    program: { language, code: found.code, functionName, tests: tests.map(({ input, output }) => ({ input, output })) },
  }
}

function languageOf(fence: string, starter: string): Program['language'] {
  if (['js', 'javascript', 'node', 'mjs'].includes(fence)) return 'javascript'
  return fence === '' && /^(var|let|const|function)\b/.test(starter) ? 'javascript' : 'python'
}

function testsOf(field: string | Test[] | undefined): Test[] {
  if (field === undefined || field === '') return []
  const value: unknown = typeof field === 'string' ? json(/^\s*\[/.test(field) ? field : unpacked(field)) : field
  const checked = z.array(Test).safeParse(value)
  if (!checked.success) throw new Error('the test cases are no list of input, output and testtype')
  return checked.data
}

/** Private tests are often published packed: base64 of zlib of a pickle that contains one string, which is JSON. */
function unpacked(field: string): string {
  try {
    return pickledText(inflateSync(Buffer.from(field, 'base64'), { maxOutputLength: 512 * 1024 * 1024 }))
  } catch {
    throw new Error('the test cases are neither JSON text nor a packed string')
  }
}

/** Extracts the one string of a pickle by its length; the pickle is never executed. */
export function pickledText(bytes: Buffer): string {
  const strings: Readonly<Record<number, [width: number, read: (at: number) => number]>> = {
    140: [1, (at) => bytes.readUInt8(at)],
    88: [4, (at) => bytes.readUInt32LE(at)],
    141: [8, (at) => Number(bytes.readBigUInt64LE(at))],
  }
  // After the protocol mark (2 bytes) there may be a frame (9 bytes).
  const at = bytes[2] === 0x95 ? 11 : 2
  const form = strings[bytes[at] ?? 0]
  if (bytes[0] !== 0x80 || !form) throw new Error('not a pickled string')
  const from = at + 1 + form[0]
  return bytes.toString('utf8', from, from + form[1](at + 1))
}

function nameOf(metadata: z.infer<typeof Row>['metadata']): string {
  const value = typeof metadata === 'string' ? json(metadata) : metadata
  const checked = z.object({ func_name: z.string().regex(/^[A-Za-z_]\w*$/) }).safeParse(value)
  if (!checked.success) throw new Error('functional tests need metadata.func_name')
  return checked.data.func_name
}

function json(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error('a field that should hold JSON text does not')
  }
}
