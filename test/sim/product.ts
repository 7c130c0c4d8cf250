/**
 * The product's programs, loaded on the simulated platform: the edge's entry with its durable objects, and the worker.
 * They are typed here by what the simulation uses, because the types of workerd and Node exclude each other.
 */
import './platform.ts'
import type { Server } from 'node:http'
import type { Config } from '../../gpu-worker/config.ts'
import type { Engine } from '../../gpu-worker/engine/engine.ts'

export type DurableObjectClass = new (state: object, env: object) => object

export interface ExecutionCalls {
  waitUntil: (work: Promise<unknown>) => void
  passThroughOnException: () => void
}

interface Edge {
  default: { fetch(request: Request, env: object, calls: ExecutionCalls): Promise<Response> | Response }
  TenantObject: DurableObjectClass
  FleetObject: DurableObjectClass
  AlertsObject: DurableObjectClass
  ResponsesObject: DurableObjectClass
}

interface WorkerProgram {
  createWorker(
    config: Config,
    parts: { engine: Engine; now: () => number; callId: () => string; log: (line: string) => void },
  ): Promise<{ start(): Promise<string>; stop(): Promise<void> }>
}

/** Not a literal: the compiler would check the edge's files with Node's types. */
const load = (path: string): Promise<unknown> => import(new URL(`../../${path}`, import.meta.url).href)

export const edge = (await load('src/index.ts')) as Edge
export const workerProgram = (await load('gpu-worker/worker.ts')) as WorkerProgram

export type RequestHandler = (request: object, response: object) => void

export function handlerOf(server: Server): RequestHandler {
  return (request, response) => void server.emit('request', request, response)
}
