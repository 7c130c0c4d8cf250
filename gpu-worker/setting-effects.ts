/** Which engines a setting has an effect on. A setting without one is an error, not a surprise. */

/** `*`: all but the embedded engine. */
const enginesOf: Readonly<Record<string, readonly string[]>> = {
  TRAMONTANE_ENGINE_URL: ['*'],
  TRAMONTANE_ENGINE_PROGRAM: ['*'],
  TRAMONTANE_DRAFT_MODEL: ['vllm', 'sglang', 'llama-cpp'],
  TRAMONTANE_QUANT: ['vllm', 'sglang', 'llama-cpp'],
  TRAMONTANE_TENSOR_PARALLEL: ['vllm', 'sglang'],
  TRAMONTANE_CPU_EXPERT_LAYERS: ['llama-cpp'],
}
/** Settings of the command that starts an engine. */
const launchOnly = [
  'TRAMONTANE_DRAFT_MODEL',
  'TRAMONTANE_QUANT',
  'TRAMONTANE_TENSOR_PARALLEL',
  'TRAMONTANE_CPU_EXPERT_LAYERS',
]

/**
 * Throws an error that begins with the first setting that has no effect.
 * @param settings those that are not set are undefined
 */
export function checkEffects(engine: string, settings: Readonly<Record<string, unknown>>): void {
  for (const [variable, engines] of Object.entries(enginesOf)) {
    if (settings[variable] === undefined || applies(engine, engines)) continue
    const name = engine === 'embedded' ? 'the embedded engine' : engine
    const others = engines.includes('*') ? 'another engine' : engines.join(' or ')
    throw new Error(`${variable}: does not apply to ${name}. Remove it, or set TRAMONTANE_BACKEND to ${others}.`)
  }
  const ignored = launchOnly.find((variable) => settings[variable] !== undefined)
  if (ignored !== undefined && settings.TRAMONTANE_ENGINE_URL !== undefined)
    throw new Error(
      `${ignored}: applies only to an engine that the worker launches. Remove it, or TRAMONTANE_ENGINE_URL.`,
    )
}

function applies(engine: string, engines: readonly string[]): boolean {
  return engine !== 'embedded' && (engines.includes('*') || engines.includes(engine))
}
