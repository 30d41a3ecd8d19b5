/**
 * Cheap lengths of Noise packets.
 *
 * Noise looks for the length of the next packet as soon as it has taken one. Mostly nothing has arrived yet, and it
 * makes an error that says so. To make an error costs about as much as to decrypt a small packet. Here it is always the
 * same one.
 */
import type { ConnectionEncrypter, MessageStream } from '@libp2p/interface'

/** The bytes that have arrived, as Noise keeps them. */
interface Arrived {
  readonly length: number
  get(at: number): number
}

/** A connection that Noise has secured. */
interface NoiseConnection extends MessageStream {
  readonly decoder: { lengthDecoder: (arrived: Arrived) => number }
}

/** The decoder takes any RangeError as "not yet". */
const NOT_YET = new RangeError('the length of the packet has not arrived')

/** Returns the same encrypter of Noise, whose connections from now on learn cheaply that there is no packet. */
export function withCheapLengths<E extends ConnectionEncrypter>(encrypter: E): E {
  const inbound = encrypter.secureInbound.bind(encrypter)
  const outbound = encrypter.secureOutbound.bind(encrypter)
  encrypter.secureInbound = async (connection, options) => cheapened(await inbound(connection, options))
  encrypter.secureOutbound = async (connection, options) => cheapened(await outbound(connection, options))
  return encrypter
}

function cheapened<S extends { readonly connection: MessageStream }>(secured: S): S {
  const { decoder } = secured.connection as NoiseConnection
  decoder.lengthDecoder = packetLength
  return secured
}

/** The first two bytes, the higher one first (Noise specification, Message format). */
function packetLength(arrived: Arrived): number {
  if (arrived.length < 2) throw NOT_YET
  return (arrived.get(0) << 8) | arrived.get(1)
}
