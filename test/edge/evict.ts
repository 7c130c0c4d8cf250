import { evictDurableObject } from 'cloudflare:test'

/** Ends the object as Cloudflare does. On a busy machine an earlier request can hold it for longer than one attempt waits. */
export async function evict(stub: DurableObjectStub<undefined>, attempts = 4): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await evictDurableObject(stub)
    } catch (error) {
      if (attempt === attempts || !String(error).includes('active references')) throw error
    }
  }
}
