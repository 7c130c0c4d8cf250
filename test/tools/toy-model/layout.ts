/** llama.cpp's format of a `mistral4` file: metadata, tensors, their order and shapes. */
import type { TensorType, Value } from './gguf.ts'
import { CONTROL, type Tokenizer } from './tokenizer.ts'

export type Shape = {
  d: number
  layers: number
  heads: number
  q_lora: number
  kv_lora: number
  nope: number
  rope: number
  v_head: number
  experts: number
  used: number
  ff: number
}

const CONTEXT = 4096

export function metadata(shape: Shape, tokenizer: Tokenizer, chatTemplate: string): Map<string, Value> {
  return new Map([
    ...general(),
    ...architecture(shape, tokenizer.tokens.length),
    ...vocabulary(tokenizer, chatTemplate),
  ])
}

function general(): [string, Value][] {
  return [
    ['general.architecture', text('mistral4')],
    ['general.type', text('model')],
    ['general.name', text('Tramontane tiny')],
    [
      'general.description',
      text('A toy in the shape of Mistral Small 4, trained on synthetic text to demonstrate Tramontane'),
    ],
    ['general.license', text('apache-2.0')],
    ['general.alignment', u32(32)],
    ['general.file_type', u32(7)],
    ['general.quantization_version', u32(2)],
  ]
}

/** Latent attention counts as one key/value head whose key is the latent row plus the rotary key. */
function architecture(s: Shape, vocabularySize: number): [string, Value][] {
  const entries: [string, Value][] = [
    ['vocab_size', u32(vocabularySize)],
    ['context_length', u32(CONTEXT)],
    ['embedding_length', u32(s.d)],
    ['block_count', u32(s.layers)],
    ['feed_forward_length', u32(s.ff * 4)],
    ['leading_dense_block_count', u32(0)],
    ['expert_count', u32(s.experts)],
    ['expert_used_count', u32(s.used)],
    ['expert_shared_count', u32(1)],
    ['expert_feed_forward_length', u32(s.ff)],
    ['expert_weights_scale', f32(1)],
    ['expert_weights_norm', { kind: 'bool', value: true }],
    ['expert_gating_func', u32(1)],
    ['attention.head_count', u32(s.heads)],
    ['attention.head_count_kv', u32(1)],
    ['attention.layer_norm_rms_epsilon', f32(1e-6)],
    ['attention.q_lora_rank', u32(s.q_lora)],
    ['attention.kv_lora_rank', u32(s.kv_lora)],
    ['attention.key_length', u32(s.kv_lora + s.rope)],
    ['attention.value_length', u32(s.kv_lora)],
    ['attention.key_length_mla', u32(s.nope + s.rope)],
    ['attention.value_length_mla', u32(s.v_head)],
    ['rope.dimension_count', u32(s.rope)],
    ['rope.freq_base', f32(10_000)],
  ]
  return entries.map(([key, value]) => [`mistral4.${key}`, value])
}

function vocabulary({ tokens, merges }: Tokenizer, chatTemplate: string): [string, Value][] {
  const [normal, unknown, control] = [1, 2, 3]
  return [
    ['tokenizer.ggml.model', text('gpt2')],
    ['tokenizer.ggml.pre', text('tekken')],
    ['tokenizer.ggml.tokens', { kind: 'strings', value: tokens }],
    [
      'tokenizer.ggml.token_type',
      { kind: 'i32s', value: tokens.map((_, id) => (id === 0 ? unknown : id < CONTROL.length ? control : normal)) },
    ],
    ['tokenizer.ggml.merges', { kind: 'strings', value: merges }],
    ['tokenizer.ggml.bos_token_id', u32(1)],
    ['tokenizer.ggml.eos_token_id', u32(2)],
    ['tokenizer.ggml.unknown_token_id', u32(0)],
    ['tokenizer.ggml.padding_token_id', u32(11)],
    ['tokenizer.ggml.add_bos_token', { kind: 'bool', value: true }],
    ['tokenizer.ggml.add_eos_token', { kind: 'bool', value: false }],
    ['tokenizer.chat_template', text(chatTemplate)],
  ]
}

export type TensorPlan = { name: string; dims: readonly number[]; type: TensorType }

/**
 * Norms, the router and the two small per-head products stay in float32. All other tensors are Q8_0, whose rows must be
 * multiples of 32 long. The per-head products must stay: on a CPU with AMX, llama.cpp 0.4 supports quantised matrices
 * only in products of contiguous rows; these two have permuted rows, and the process aborts (GGML_ASSERT in
 * ggml-backend).
 */
export function tensorPlans(s: Shape, vocabularySize: number): TensorPlan[] {
  const plain = (name: string, ...dims: number[]): TensorPlan => ({ name: `${name}.weight`, dims, type: 'f32' })
  const matrix = (name: string, ...dims: number[]): TensorPlan => ({ name: `${name}.weight`, dims, type: 'q8_0' })
  const block = (index: number): TensorPlan[] => {
    const at = (name: string): string => `blk.${index}.${name}`
    return [
      plain(at('attn_norm'), s.d),
      matrix(at('attn_q_a'), s.d, s.q_lora),
      plain(at('attn_q_a_norm'), s.q_lora),
      matrix(at('attn_q_b'), s.q_lora, s.heads * (s.nope + s.rope)),
      matrix(at('attn_kv_a_mqa'), s.d, s.kv_lora + s.rope),
      plain(at('attn_kv_a_norm'), s.kv_lora),
      plain(at('attn_k_b'), s.nope, s.kv_lora, s.heads),
      plain(at('attn_v_b'), s.kv_lora, s.v_head, s.heads),
      matrix(at('attn_output'), s.heads * s.v_head, s.d),
      plain(at('ffn_norm'), s.d),
      plain(at('ffn_gate_inp'), s.d, s.experts),
      matrix(at('ffn_gate_exps'), s.d, s.ff, s.experts),
      matrix(at('ffn_up_exps'), s.d, s.ff, s.experts),
      matrix(at('ffn_down_exps'), s.ff, s.d, s.experts),
      matrix(at('ffn_gate_shexp'), s.d, s.ff),
      matrix(at('ffn_up_shexp'), s.d, s.ff),
      matrix(at('ffn_down_shexp'), s.ff, s.d),
    ]
  }
  const blocks = Array.from({ length: s.layers }, (_, index) => block(index)).flat()
  return [
    matrix('token_embd', s.d, vocabularySize),
    plain('output_norm', s.d),
    matrix('output', s.d, vocabularySize),
    ...blocks,
  ]
}

function u32(value: number): Value {
  return { kind: 'u32', value }
}

function f32(value: number): Value {
  return { kind: 'f32', value }
}

function text(value: string): Value {
  return { kind: 'string', value }
}
