/**
 * Writes a vision projector for the toy model, in the form of Mistral Small 4's: Pixtral's patches of 14 pixels, merged
 * 2 by 2, with one end-of-row embedding. llama-server loads it with `--mmproj`. Its weights are seeded noise: images
 * pass through the real decoder, encoder and prompt, and are counted as Small 4 counts them, but it recognises nothing.
 *
 *   node eyes.ts OUT.gguf
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fromGguf } from './build.ts'
import { type Tensor, type Value, writeGguf } from './gguf.ts'
import { random } from './random.ts'
import { CONTROL } from './tokenizer.ts'

const PATCH = 14
const COLOURS = 3
/** As in Small 4: the longest side in pixels, and the side of one token in patches. */
const SIDE_MAX = 1_540
const MERGE = 2
const WIDTH = 64
const LAYERS = 2
const HEADS = 4
const FEED_FORWARD = 128
const SEED = 1

/**
 * The same model gives the same bytes.
 * @param model the bytes of `tiny.gguf`: its embedding of [IMG_BREAK] ends each row
 */
export function eyes(model: Uint8Array): Uint8Array {
  const embeddings = fromGguf(model)('token_embd.weight')
  const rowEnd = CONTROL.indexOf('[IMG_BREAK]')
  const textWidth = readShape().d
  const { noise, ones } = weights()
  const tensors: Tensor[] = [
    noise('v.patch_embd.weight', PATCH, PATCH, COLOURS, WIDTH),
    ones('v.pre_ln.weight', WIDTH),
    ...Array.from({ length: LAYERS }, (_, layer) => layerOf(`v.blk.${layer}`)).flat(),
    ones('mm.input_norm.weight', WIDTH),
    noise('mm.patch_merger.weight', WIDTH * MERGE ** 2, WIDTH),
    noise('mm.1.weight', WIDTH, textWidth),
    noise('mm.2.weight', textWidth, textWidth),
    tensor('v.token_embd.img_break', [textWidth], embeddings.slice(rowEnd * textWidth, (rowEnd + 1) * textWidth)),
  ]
  return writeGguf({ metadata: metadata(textWidth), tensors })

  function layerOf(at: string): Tensor[] {
    return [
      ones(`${at}.ln1.weight`, WIDTH),
      ...['attn_q', 'attn_k', 'attn_v', 'attn_out'].map((name) => noise(`${at}.${name}.weight`, WIDTH, WIDTH)),
      ones(`${at}.ln2.weight`, WIDTH),
      noise(`${at}.ffn_gate.weight`, WIDTH, FEED_FORWARD),
      noise(`${at}.ffn_up.weight`, WIDTH, FEED_FORWARD),
      noise(`${at}.ffn_down.weight`, FEED_FORWARD, WIDTH),
    ]
  }
}

function readShape(): { d: number } {
  return JSON.parse(readFileSync(new URL('shape.json', import.meta.url), 'utf8'))
}

function metadata(textWidth: number): Map<string, Value> {
  const text = (value: string): Value => ({ kind: 'string', value })
  const u32 = (value: number): Value => ({ kind: 'u32', value })
  const flag: Value = { kind: 'bool', value: true }
  return new Map<string, Value>([
    ['general.architecture', text('clip')],
    ['general.type', text('mmproj')],
    ['general.name', text('Tramontane tiny eyes')],
    ['general.license', text('apache-2.0')],
    ['general.alignment', u32(32)],
    ['general.file_type', u32(0)],
    ['clip.has_vision_encoder', flag],
    ['clip.projector_type', text('pixtral')],
    ['clip.use_silu', flag],
    ['clip.vision.image_size', u32(SIDE_MAX)],
    ['clip.vision.patch_size', u32(PATCH)],
    ['clip.vision.spatial_merge_size', u32(MERGE)],
    ['clip.vision.embedding_length', u32(WIDTH)],
    ['clip.vision.feed_forward_length', u32(FEED_FORWARD)],
    ['clip.vision.block_count', u32(LAYERS)],
    ['clip.vision.projection_dim', u32(textWidth)],
    ['clip.vision.attention.head_count', u32(HEADS)],
    ['clip.vision.attention.layer_norm_epsilon', { kind: 'f32', value: 1e-5 }],
    // Means and deviations of the training pictures of CLIP, which Pixtral also uses.
    ['clip.vision.image_mean', { kind: 'f32s', value: [0.48145466, 0.4578275, 0.40821073] }],
    ['clip.vision.image_std', { kind: 'f32s', value: [0.26862954, 0.26130258, 0.27577711] }],
  ])
}

/** Noise of variance 1 / inputs keeps every layer's values at the size of its input. */
function weights() {
  const { next } = random(SEED)
  const uniform = (limit: number) => (next() * 2 - 1) * limit
  return {
    ones: (name: string, width: number) => tensor(name, [width], new Float32Array(width).fill(1)),
    /** The last dimension is the output; all others together are the inputs. */
    noise: (name: string, ...dims: number[]) => {
      const count = dims.reduce((product, dim) => product * dim, 1)
      const limit = Math.sqrt(3 / (count / (dims.at(-1) ?? 1)))
      return tensor(
        name,
        dims,
        Float32Array.from({ length: count }, () => uniform(limit)),
      )
    },
  }
}

function tensor(name: string, dims: readonly number[], values: Float32Array): Tensor {
  return { name, dims, type: 'f32', bytes: new Uint8Array(values.slice().buffer) }
}

if (import.meta.main) {
  const [out] = process.argv.slice(2)
  if (out === undefined) throw new Error('name the file to write: node eyes.ts OUT.gguf')
  const bytes = eyes(new Uint8Array(readFileSync(new URL('../../../gpu-worker/model/tiny.gguf', import.meta.url))))
  writeFileSync(out, bytes)
  console.log(`${out}: ${bytes.length} bytes`)
}
