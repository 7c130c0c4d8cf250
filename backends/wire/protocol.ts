/**
 * The version of the protocol between the edge and its workers. Each signed message carries it as the claim `protocol`,
 * and so does the edge's answer to a heartbeat. Every other answer has the version of its question.
 *
 * A receiver reads its own version and the one before. The edge writes to each worker in the worker's own version, which
 * it knows from the heartbeat. A worker writes only its own. So an upgrade begins with the edge.
 *
 * Raise the version with a change that an older receiver would refuse or misread. These fields keep their meaning in
 * every version, so that both sides can name a mismatch: the seal, `protocol` in its claims, `edgeNow`, `protocol`,
 * `reason` and the state `incompatible` of the answer to a heartbeat, and `code` and `message` of a refusal.
 */
import { z } from 'zod'

export const protocolVersion = 2
const protocolVersionOldest = protocolVersion - 1

/** Messages of version 1 have no version. */
const unnumbered = 1

export const ProtocolVersion = z.int().min(1).default(unnumbered)

export function isSpoken(version: number): boolean {
  return version >= protocolVersionOldest && version <= protocolVersion
}

/** The version of some claims; undefined if they are not a message of any version. */
export function versionOf(claims: unknown): number | undefined {
  return z.object({ protocol: ProtocolVersion }).safeParse(claims).data?.protocol
}

/** The claims as a message of this version. */
export function numbered(claims: object, version: number): object {
  return version === unnumbered ? claims : { ...claims, protocol: version }
}

/** The code of a worker's refusal of a message that it does not read. It is no fault of the request. */
export const unspokenCode = 'protocol_version'

/** Why a message is refused. `writer` and `reader` name the two sides. */
export function unspokenText(writer: string, version: number, reader: string): string {
  const behind = version > protocolVersion ? reader : writer
  return `${writer} writes protocol version ${version}, and ${reader} reads versions ${protocolVersionOldest} and ${protocolVersion}. Upgrade ${behind}.`
}
