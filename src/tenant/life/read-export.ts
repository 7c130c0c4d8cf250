/** Reads an export line by line: checks its form, its order, its digest, and yields its rows in batches. */
import { createHash } from 'node:crypto'
import { readFields } from '../../../backends/model/field-fault.ts'
import { ExportEnd, ExportedRow, ExportHead, lineCharactersMax } from './export-format.ts'

export type ExportPart =
  | { kind: 'head'; head: ExportHead }
  | { kind: 'rows'; rows: ExportedRow[] }
  | { kind: 'end'; end: ExportEnd }

/** The export is not whole or was changed. The message begins with the number of a line. */
export class ExportFault extends Error {}

const batchRows = 500
const batchCharacters = 1_000_000

/** @param chunks the bytes of the export, in pieces of any size */
export async function* readExport(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<ExportPart, undefined> {
  const hash = createHash('sha256')
  let count = 0
  let ended = false
  let batch: ExportedRow[] = []
  let characters = 0
  const fault = (text: string) => new ExportFault(`line ${count + 1}: ${text}`)
  for await (const line of linesOf(chunks)) {
    if (ended) throw fault('follows the end of the export')
    const value = json(line)
    if (value === undefined) throw fault('is not JSON')
    if (count === 0) {
      const head = readFields(ExportHead, value)
      if (!head.ok) throw fault(`is not the head of an export: ${head.fault.field ?? 'value'} ${head.fault.message}`)
      yield { kind: 'head', head: head.data }
    } else if (isEnd(value)) {
      const end = readFields(ExportEnd, value)
      if (!end.ok) throw fault(`is not the end of an export: ${end.fault.field ?? 'value'} ${end.fault.message}`)
      if (end.data.lines !== count)
        throw fault(`the export has ${count} lines before its end, and names ${end.data.lines}`)
      if (end.data.sha256 !== hash.digest('hex')) throw fault('the digest does not match: a line was changed')
      if (batch.length > 0) yield { kind: 'rows', rows: batch }
      ended = true
      yield { kind: 'end', end: end.data }
      continue
    } else {
      const row = readFields(ExportedRow, value)
      if (!row.ok) throw fault(`is not a row: ${row.fault.field ?? 'value'} ${row.fault.message}`)
      batch.push(row.data)
      characters += line.length
      if (batch.length >= batchRows || characters >= batchCharacters) {
        yield { kind: 'rows', rows: batch }
        batch = []
        characters = 0
      }
    }
    hash.update(`${line}\n`)
    count += 1
  }
  if (!ended) throw fault('the export ends before its last line')
  return undefined
}

async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  let rest = ''
  for await (const chunk of chunks) {
    rest += decode(decoder, chunk)
    let from = 0
    for (let at = rest.indexOf('\n', from); at >= 0; at = rest.indexOf('\n', from)) {
      yield rest.slice(from, at)
      from = at + 1
    }
    rest = rest.slice(from)
    if (rest.length > lineCharactersMax) throw new ExportFault(`a line has more than ${lineCharactersMax} characters`)
  }
  if (rest !== '') yield rest
  return undefined
}

function decode(decoder: TextDecoder, chunk: Uint8Array): string {
  try {
    return decoder.decode(chunk, { stream: true })
  } catch {
    throw new ExportFault('the export is not UTF-8')
  }
}

function json(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

function isEnd(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'end' in value
}
