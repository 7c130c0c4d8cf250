/**
 * The minimal gateway on this runtime: forwards the request to the worker and returns its answer. It is hosted with the
 * edge's configuration, so it must export the objects that this configuration binds; it uses none of them.
 */
import { DurableObject } from 'cloudflare:workers'

export class TenantObject extends DurableObject {}
export class FleetObject extends DurableObject {}
export class ResponsesObject extends DurableObject {}

export default {
  fetch(request, env) {
    return fetch(env.WORKER_URL, request)
  },
}
