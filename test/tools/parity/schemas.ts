/**
 * The schema compiler in strict mode against the JSON-Schema-Test-Suite and the everyday types of pydantic. The real
 * grammar engine judges each instance, in a process of its own with a memory limit.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { watchChild } from '../../../gpu-worker/engine/child-watch.ts'
import type { JudgeAnswer, JudgeQuestion } from './schema-judge.ts'
import type { Reference, Section, SectionResult } from './section.ts'

interface Group {
  file: string
  description: string
  schema: unknown
  tests: { description?: string; data: unknown; valid: boolean }[]
}

const suitePackage = 'jsonschema==4.25.1'
const memoryBytesMax = 2 * 1024 ** 3

export const schemas: Section = { name: 'schemas', run }

async function run(reference: Reference): Promise<SectionResult> {
  const input = { folder: reference.folder, package: suitePackage }
  const found = (await reference.python('schema-suite.py', input)) as {
    pydantic: Group[]
    suite: Group[]
    version: string
  }
  const child = fork(fileURLToPath(new URL('schema-judge.ts', import.meta.url)), {
    execArgv: ['--max-old-space-size=1024'],
  })
  const watch = watchChild(child.pid, { memoryBytesMax })
  try {
    child.setMaxListeners(0)
    const pydantic = await judged(child, `pydantic ${found.version}`, found.pydantic.map(bySchema))
    const drafts = ['draft2020-12', 'draft7'].map((draft) =>
      found.suite.filter(({ file }) => file.startsWith(`${draft}/`)),
    )
    const results = [pydantic]
    for (const groups of drafts) results.push(await judged(child, groups[0]?.file.split('/')[0] ?? '', groups))
    return { lines: results.flatMap(({ lines }) => lines), faults: results.flatMap(({ faults }) => faults) }
  } finally {
    child.kill('SIGKILL')
    watch.end()
  }
}

/**
 * Instances by pydantic's JSON schema: its own parser also refuses what the schema does not describe, and reads values
 * of other types.
 */
function bySchema(group: Group): Group {
  const validate = new Ajv2020({ strict: false, validateFormats: false, logger: false }).compile(group.schema as object)
  const formatted = group.tests.filter(({ data, valid }) => valid || !validate(data))
  return { ...group, tests: formatted.map((test) => ({ ...test, valid: validate(test.data) })) }
}

async function judged(child: ChildProcess, name: string, groups: readonly Group[]): Promise<SectionResult> {
  const refused = new Map<string, number>()
  const counts = { enforced: 0, refused: 0, impossible: 0, valid: 0, validAccepted: 0, invalid: 0 }
  const faults: string[] = []
  for (const { file, description, schema, tests } of groups) {
    const answer = await asked(child, { schema, texts: tests.map(({ data }) => JSON.stringify(data)) })
    if (!answer.ok) {
      if (!tests.some(({ valid }) => valid)) counts.impossible++
      else {
        counts.refused++
        refused.set(answer.keyword, (refused.get(answer.keyword) ?? 0) + 1)
      }
      if (answer.keyword === '') faults.push(`${file} "${description}": refused without the name of a keyword`)
      continue
    }
    counts.enforced++
    for (const [index, test] of tests.entries()) {
      const accepted = answer.accepted[index] === true
      if (test.valid) {
        counts.valid++
        if (accepted) counts.validAccepted++
      } else {
        counts.invalid++
        if (accepted) faults.push(`${file} "${description}" accepts ${JSON.stringify(test.data).slice(0, 120)}`)
      }
    }
  }
  const list = [...refused].sort((a, b) => b[1] - a[1]).map(([keyword, count]) => `${keyword} ${count}`)
  const lines = [
    `${name}: ${groups.length} schemas, ${counts.enforced} enforced, ${counts.refused} refused by name, ${counts.impossible} that nothing matches refused`,
    `  wrong: ${faults.length} of ${counts.invalid} invalid instances accepted; ${counts.validAccepted} of ${counts.valid} valid ones accepted`,
    ...(list.length > 0 ? [`  refused: ${list.join(', ')}`] : []),
  ]
  return { lines, faults }
}

async function asked(child: ChildProcess, question: JudgeQuestion): Promise<JudgeAnswer> {
  const ended = once(child, 'exit').then(() => Promise.reject(new Error('the judging process ended')))
  ended.catch(() => undefined)
  const answered = once(child, 'message')
  child.send(question)
  const [answer] = (await Promise.race([answered, ended])) as [JudgeAnswer]
  return answer
}
