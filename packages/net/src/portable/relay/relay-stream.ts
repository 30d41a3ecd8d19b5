/** A libp2p stream in the handshake of a relayed connection. */
import '../polyfill.js'
import type { Stream } from '@libp2p/interface'
import { lpStream } from '@libp2p/utils'
import { MAX_RELAY_MESSAGE_BYTES, type RelayMessage, type RelayMessageCodec } from './relay-messages.js'

export interface RelayStream {
  read(signal: AbortSignal): Promise<RelayMessage>
  write(message: RelayMessage, signal: AbortSignal): Promise<void>
  /** Ends the handshake. The stream then delivers the bytes that follow the last message. */
  unwrap(): Stream
}

/** Reads and writes messages with their length in front. */
export function relayStream(stream: Stream, codec: RelayMessageCodec): RelayStream {
  const messages = lpStream(stream, { maxDataLength: MAX_RELAY_MESSAGE_BYTES })
  return {
    read: async (signal) => codec.decode((await messages.read({ signal })).subarray()),
    write: (message, signal) => messages.write(codec.encode(message), { signal }),
    unwrap: () => messages.unwrap()
  }
}
