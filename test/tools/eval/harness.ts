/** Builds the files and input for one test of a program, and judges its output. */
import type { Program } from './case.ts'

export interface Harness {
  files: Record<string, string>
  stdin: string
}

export function harness(program: Program, test: { input: string }): Harness {
  if (program.functionName === null) return { files: { main: program.code }, stdin: test.input }
  const main = program.language === 'python' ? python(program) : javascript(program)
  return { files: { main }, stdin: test.input }
}

/** Separates a program's own output from the function's result. No other program writes it. */
const mark = '\u001eresult\u001e'

const PYTHON_BEGIN = `import sys, json, math, re, heapq, bisect, collections, itertools, functools, operator, string
from collections import *
from itertools import *
from functools import *
from heapq import *
from bisect import *
from math import *
from typing import *
sys.setrecursionlimit(100000)
`

/** One argument per line, as JSON, for a method of Solution or a plain function. */
function python({ code, functionName }: Program): string {
  return `${PYTHON_BEGIN}
${code}

import sys as _sys, json as _json
_arguments = [_json.loads(_line) for _line in _sys.stdin.read().split('\\n') if _line.strip()]
_call = getattr(Solution(), '${functionName}') if 'Solution' in globals() else globals()['${functionName}']
_result = _call(*_arguments)
_sys.stdout.write('${mark}' + _json.dumps(_result, default=list))
`
}

function javascript({ code, functionName }: Program): string {
  return `${code}

;(() => {
  const values = require('node:fs').readFileSync(0, 'utf8').split('\\n').filter((line) => line.trim()).map((line) => JSON.parse(line))
  const held = typeof Solution === 'function' ? new Solution() : null
  const result = held && typeof held.${functionName} === 'function' ? held.${functionName}(...values) : ${functionName}(...values)
  process.stdout.write('${mark}' + JSON.stringify(result ?? null))
})()
`
}

export function passes(program: Pick<Program, 'functionName'>, stdout: string, wanted: string): boolean {
  if (program.functionName === null) return sameLines(stdout, wanted)
  const at = stdout.lastIndexOf(mark)
  return at >= 0 && sameValue(json(stdout.slice(at + mark.length)), json(wanted))
}

/** Compares line by line without surrounding space; numbers may be written in another form. */
function sameLines(said: string, wanted: string): boolean {
  const lines = (text: string) =>
    text
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
  const [left, right] = [lines(said), lines(wanted)]
  return left.length === right.length && left.every((line, at) => sameWords(line, right[at] ?? []))
}

function sameWords(left: readonly string[], right: readonly string[]): boolean {
  return (
    left.length === right.length && left.every((word, at) => word === right[at] || sameNumber(word, right[at] ?? ''))
  )
}

/** Only numbers with a point or an exponent are compared by value; long integers and 007 are text. */
function sameNumber(left: string, right: string): boolean {
  const decimal = /^[+-]?\d*\.?\d+(e[+-]?\d+)?$/i
  if (!decimal.test(left) || !decimal.test(right) || !/[.e]/i.test(left + right)) return false
  return near(Number(left), Number(right))
}

function sameValue(left: unknown, right: unknown): boolean {
  if (typeof left === 'number' && typeof right === 'number') {
    return left === right || (!(Number.isInteger(left) && Number.isInteger(right)) && near(left, right))
  }
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((item, at) => sameValue(item, right[at]))
  }
  return JSON.stringify(left) === JSON.stringify(right)
}

function near(left: number, right: number): boolean {
  return Math.abs(left - right) <= 1e-6 * Math.max(1, Math.abs(right))
}

function json(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
