/** One comparison with a reference. To add one, write it in a file of its own and list it in `run.ts`. */
export interface Section {
  name: string
  run(reference: Reference): Promise<SectionResult>
}

export interface SectionResult {
  /** What was compared and measured, as printed. */
  lines: string[]
  /** Differences. Any one of them fails the command. */
  faults: string[]
}

/** The reference implementation, in a Python environment of its own. */
export interface Reference {
  /** This repository. */
  root: string
  /** Temporary; removed at the end. */
  folder: string
  /** Version of mistral-common. */
  version: string
  /** The vocabulary that mistral-common brings along. */
  vocabularyPath: string
  /** Runs a Python script of this folder, which reads JSON from one file and writes JSON to another. */
  python(script: string, input: unknown): Promise<unknown>
  /** Whether the committed files are to be written again. */
  write: boolean
}
