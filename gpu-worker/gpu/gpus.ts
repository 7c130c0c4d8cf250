/**
 * The GPUs of a host, from `nvidia-smi` or from a list that a person writes, such as `4xH100-80`. Sizes are those that
 * the driver reports, in bytes.
 */

export interface Gpu {
  name: string
  memoryBytes: number
  /** CUDA compute capability, such as 9 for Hopper or 12.1; null if unknown, or if the GPU has none. */
  capability: number | null
}

export type ReadGpus = { ok: true; gpus: Gpu[] } | { ok: false; message: string }

/** The arguments for `nvidia-smi` whose output `readNvidiaSmi` reads. */
export const nvidiaSmiArguments = [
  '--query-gpu=index,uuid,name,memory.total,compute_cap',
  '--format=csv,noheader,nounits',
] as const

const mebibyte = 1_048_576
const gibibyte = 1_073_741_824
const gpusMax = 64
const memoryGibMax = 2_048

/**
 * @param output of `nvidia-smi` with `nvidiaSmiArguments`
 * @param visible `CUDA_VISIBLE_DEVICES`: undefined selects all
 * @returns the visible GPUs; null if one of them does not report its memory, or is named in a way that is not read here
 */
export function readNvidiaSmi(output: string, visible: string | undefined): Gpu[] | null {
  const rows = output
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => line.split(',').map((cell) => cell.trim()))
  const wanted = visible === undefined ? rows : visibleRows(rows, visible)
  const gpus = wanted?.map(([, , name = '', memory = '', capability = '']) => ({
    name,
    memoryBytes: Number(memory || Number.NaN) * mebibyte,
    capability: Number.parseFloat(capability) || null,
  }))
  return gpus?.every(({ memoryBytes }) => memoryBytes > 0) ? gpus : null
}

/** Indices or UUIDs, as CUDA reads them: an invalid one hides those after it. */
function visibleRows(rows: string[][], visible: string): string[][] | null {
  const chosen: string[][] = []
  for (const word of visible.split(',').map((part) => part.trim())) {
    if (word.startsWith('MIG-')) return null
    const row = rows.find(([index, uuid]) => word !== '' && (word === index || uuid?.startsWith(word)))
    if (!row) break
    chosen.push(row)
  }
  return chosen
}

/**
 * Reads `none`, or a list such as `4xH100-80` or `RTX 4090-24, 2xL4-24`: count, name and gigabytes of each kind.
 * @returns a message that begins with what is wrong in the text
 */
export function readGpuList(text: string): ReadGpus {
  if (text.trim().toLowerCase() === 'none') return { ok: true, gpus: [] }
  const gpus: Gpu[] = []
  for (const part of text.split(',').map((each) => each.trim())) {
    const [, count = '1', name = '', gigabytes = ''] =
      /^(?:(\d{1,3}) ?[x×] ?)?([a-z](?:[\w .+-]{0,40}[\w+])?) ?- ?(\d{1,4}(?:\.\d{1,2})?)(?: ?gi?b)?$/i.exec(part) ?? []
    const memory = Number(gigabytes)
    if (name === '') return refuse(`"${part}" is not COUNTxNAME-GIGABYTES`)
    if (memory < 1 || memory > memoryGibMax) return refuse(`${gigabytes} GB is not from 1 to ${memoryGibMax}`)
    if (Number(count) < 1 || gpus.length + Number(count) > gpusMax)
      return refuse(`${count} is not a number of GPUs from 1 to ${gpusMax}`)
    const gpu: Gpu = { name, memoryBytes: memory * gibibyte, capability: capabilityOf(name) }
    gpus.push(...Array.from({ length: Number(count) }, () => gpu))
  }
  return { ok: true, gpus }
}

function refuse(what: string): ReadGpus {
  return { ok: false, message: `${what}. Write for example 4xH100-80, RTX4090-24 or none.` }
}

/** In this order: "RTX 6000 Ada" is no RTX 6000, and "GB200" no B200 of another kind. */
const capabilities: readonly [name: RegExp, capability: number][] = [
  [/\b(G?H100|G?H200|GH\d+|H800|H20)\b|hopper/i, 9],
  [/\b(G?B[123]00)\b/i, 10],
  [/\bGB10\b|spark|rtx ?pro|rtx ?50\d\d|\b50[5-9]0\b|blackwell/i, 12],
  [/\bada\b|rtx ?40\d\d|\b40[5-9]0\b|\bL(4|20|40S?)\b/i, 8.9],
  [/\b(A100|A800|A30)\b/i, 8],
  [/rtx ?30\d\d|\b30[5-9]0\b|\bA(2|10G?|16|40)\b|\b(rtx ?)?A[456]000\b/i, 8.6],
  [/\bT4\b|rtx ?20\d\d/i, 7.5],
  [/\bV100\b/i, 7],
]

/** From the name, for a GPU that is not in this host. */
function capabilityOf(name: string): number | null {
  return capabilities.find(([pattern]) => pattern.test(name))?.[1] ?? null
}

/** Such as "4 × H100 (80 GB)". GPUs of one name and size are counted together. */
export function gpusText(gpus: readonly Gpu[]): string {
  if (gpus.length === 0) return 'no GPU'
  const counts = new Map<string, number>()
  for (const { name, memoryBytes } of gpus) {
    const kind = `${name} (${Math.round(memoryBytes / gibibyte)} GB)`
    counts.set(kind, (counts.get(kind) ?? 0) + 1)
  }
  return [...counts].map(([kind, count]) => `${count} × ${kind}`).join(', ')
}
