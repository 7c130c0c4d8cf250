/** All attacks. */
import type { Attack } from './attack.ts'
import { bodyAttacks } from './attacks/bodies.ts'
import { keyAttacks } from './attacks/keys.ts'
import { loadAttacks } from './attacks/load.ts'
import { mediaAttacks } from './attacks/media.ts'
import { samplingAttacks } from './attacks/sampling.ts'
import { schemaAttacks } from './attacks/schemas.ts'
import { workerAttacks } from './attacks/workers.ts'

export const attacks: readonly Attack[] = [
  ...schemaAttacks,
  ...samplingAttacks,
  ...bodyAttacks,
  ...mediaAttacks,
  ...loadAttacks,
  ...keyAttacks,
  ...workerAttacks,
]
