/**
 * The least that a gateway on this runtime can do: hand the request to the worker and its answer back. Hosted with the
 * edge's own configuration, so it has to have what that binds, and uses none of it.
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
