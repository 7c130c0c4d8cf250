/**
 * Names of fleet secrets. During a rotation of FLEET_SECRET, some workers have a key from the previous secret and some
 * from the new one. The fleet keeps the name of the secret that verified a worker's last heartbeat, so that any edge
 * isolate signs its messages to the worker with the right one.
 */
import { type Secret, sha256Hex } from './secret.ts'

const names = new WeakMap<Secret, Promise<string>>()

/** 12 hex digits that differ between secrets and reveal nothing of them. */
export function secretIdOf(fleet: Secret): Promise<string> {
  const known = names.get(fleet)
  if (known) return known
  const name = sha256Hex(`fleet-secret-id:${fleet.reveal()}`).then((hash) => hash.slice(0, 12))
  names.set(fleet, name)
  return name
}

/** The secret of that name. Without a name, or with an unknown one, the current secret, which is the first. */
export async function findFleetSecret(secrets: readonly Secret[], secretId: string | undefined): Promise<Secret> {
  const [current] = secrets
  if (!current) throw new Error('there is no fleet secret')
  for (const secret of secrets) if (secretId !== undefined && (await secretIdOf(secret)) === secretId) return secret
  return current
}
