/** The published form of Mistral Small 4 that an engine loads by default, or by `TRAMONTANE_QUANT`. */
import {
  checkpointQuantisations,
  checkpoints,
  ggufDefault,
  ggufQuantisations,
  isGgufQuantisation,
  smallFourGguf,
} from './gpu/checkpoints.ts'

/** The model as the engine takes it. Throws an error that begins with the variable. */
export function publishedForm(engine: string, quantisation: string | undefined): string {
  if (engine === 'llama-cpp') {
    const gguf = quantisation ?? ggufDefault
    if (isGgufQuantisation(gguf)) return `${smallFourGguf}:${gguf}`
    throw unknownQuantisation(gguf, engine, ggufQuantisations)
  }
  const wanted = quantisation ?? 'fp8'
  const checkpoint = checkpoints.find((each) => each.quantisation === wanted)
  if (checkpoint) return checkpoint.model
  throw unknownQuantisation(wanted, engine, checkpointQuantisations)
}

function unknownQuantisation(word: string, engine: string, known: readonly string[]): Error {
  return new Error(`TRAMONTANE_QUANT: ${engine} has no quantisation "${word}" here. Use one of ${known.join(', ')}.`)
}
