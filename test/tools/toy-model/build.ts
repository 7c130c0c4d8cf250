/**
 * Writes tiny.gguf: `node build.ts run.safetensors` from a training run, and `node build.ts` from the weights of the
 * committed tiny.gguf. The second form must reproduce the same bytes, and prints whether it did.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readGguf, type Tensor, writeGguf } from './gguf.ts'
import { metadata, type Shape, type TensorPlan, tensorPlans } from './layout.ts'
import { dequantised, quantised } from './q8.ts'
import { spelled } from './tokenizer.ts'

type Weights = (name: string) => Float32Array

const here = import.meta.dirname
const modelFolder = fileURLToPath(new URL('../../../gpu-worker/model/', import.meta.url))
const COMMITTED = join(modelFolder, 'tiny.gguf')

/** Builds the whole file from weights, shape, tokenizer and chat template; equal inputs give equal bytes. */
export function build(weights: Weights): Uint8Array {
  const shape: Shape = JSON.parse(readFileSync(join(here, 'shape.json'), 'utf8'))
  const tokenizer = spelled(JSON.parse(readFileSync(join(here, 'tokenizer.json'), 'utf8')))
  const template = readFileSync(join(modelFolder, 'chat-template.jinja'), 'utf8').trimEnd()
  const tensors = tensorPlans(shape, tokenizer.tokens.length).map((plan) => tensor(plan, weights(plan.name)))
  return writeGguf({ metadata: metadata(shape, tokenizer, template), tensors })
}

function tensor(plan: TensorPlan, values: Float32Array): Tensor {
  const count = plan.dims.reduce((product, dim) => product * dim, 1)
  if (values.length !== count) throw new Error(`${plan.name} has ${values.length} values, not ${count}`)
  return { ...plan, bytes: plan.type === 'q8_0' ? quantised(values) : new Uint8Array(values.slice().buffer) }
}

/** Float32 tensors of a safetensors file, as train.py writes them. */
function fromSafetensors(bytes: Uint8Array): Weights {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const start = 8 + Number(view.getBigUint64(0, true))
  const header: { [name: string]: { data_offsets: [number, number] } } = JSON.parse(
    new TextDecoder().decode(bytes.subarray(8, start)),
  )
  return (name) => {
    const [from, to] = header[name]?.data_offsets ?? [0, 0]
    return new Float32Array(bytes.slice(start + from, start + to).buffer)
  }
}

export function fromGguf(bytes: Uint8Array): Weights {
  const tensors = new Map(readGguf(bytes).tensors.map((each) => [each.name, each]))
  return (name) => {
    const found = tensors.get(name)
    if (!found) throw new Error(`no tensor ${name}`)
    return found.type === 'q8_0' ? dequantised(found.bytes) : new Float32Array(found.bytes.slice().buffer)
  }
}

function main([source, target = COMMITTED]: readonly string[]): void {
  const before = new Uint8Array(readFileSync(source ?? COMMITTED))
  const built = build(source?.endsWith('.safetensors') ? fromSafetensors(before) : fromGguf(before))
  if (!source) console.log(Buffer.compare(built, before) === 0 ? 'the same bytes' : 'different bytes')
  writeFileSync(target, built)
  console.log(`${target}: ${built.length} bytes`)
}

if (import.meta.main) main(process.argv.slice(2))
