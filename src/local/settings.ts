/** The settings of `npm start`, from its environment. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readStartEnvironment } from './environment.ts'

export interface LocalSettings {
  /** Folder of the repository. */
  root: string
  /** Folder of the state. */
  home: string
  host: string
  port: number
  baseUrl: string
  modelId: string
  /** Optional bindings of the edge. */
  bindings: Record<string, string>
  inspectorPort: number | undefined
}

type StartVariables = Record<string, string | undefined>

export const toyModelId = 'tramontane-tiny'
const host = '127.0.0.1'

/** Throws an error that names the variable. */
export function readSettings(variables: StartVariables): LocalSettings {
  const environment = readStartEnvironment(variables)
  if (namesFile(variables)) checkModelFile(environment.TRAMONTANE_MODEL)
  const root = fileURLToPath(new URL('../..', import.meta.url))
  return {
    root,
    home: resolve(environment.TRAMONTANE_HOME ?? join(root, '.tramontane')),
    host,
    port: environment.PORT,
    baseUrl: `http://${host}:${environment.PORT}`,
    modelId: environment.TRAMONTANE_MODEL_ID ?? (servesToy(variables) ? toyModelId : 'mistral-small-4'),
    bindings: {
      ...optionalBindings(variables),
      ...(environment.TRAMONTANE_SPILL === 'off' && { SPILL: 'off' }),
      // The edge listens on this machine only, so without a proxy the header would be the client's own claim.
      CLIENT_ADDRESS_HEADER: environment.TRAMONTANE_CLIENT_ADDRESS_HEADER ?? 'none',
    },
    inspectorPort: environment.TRAMONTANE_INSPECTOR_PORT,
  }
}

/** The settings of a hosted API and of Stripe, if the environment has them. */
function optionalBindings(variables: StartVariables): Record<string, string> {
  const names = ['HOSTED_URL', 'HOSTED_MODEL', 'HOSTED_KEY', 'STRIPE_SECRET_KEY', 'STRIPE_WEBHOOK_SECRET']
  return Object.fromEntries(names.flatMap((name) => (variables[name] ? [[name, variables[name]]] : [])))
}

/** Whether the engine takes a model file. */
function takesFiles(variables: StartVariables): boolean {
  return ['embedded', 'llama-cpp'].includes(variables.TRAMONTANE_BACKEND ?? 'embedded')
}

/** Engines that also take a model id report a missing model themselves. */
function namesFile(variables: StartVariables): boolean {
  const model = variables.TRAMONTANE_MODEL ?? ''
  return takesFiles(variables) && (variables.TRAMONTANE_BACKEND !== 'llama-cpp' || model.endsWith('.gguf'))
}

/** The worker's own rule, so that the edge offers the model that the workers serve. */
function servesToy(variables: StartVariables): boolean {
  return takesFiles(variables) && !variables.TRAMONTANE_MODEL && !variables.TRAMONTANE_ENGINE_URL
}

function checkModelFile(path: string | undefined): void {
  if (path !== undefined && !existsSync(path))
    throw new Error(`TRAMONTANE_MODEL: file ${path} not found. Correct the path.`)
}
