/**
 * Flow control of Yamux with fewer messages.
 *
 * Yamux tells the sender of each data frame at once that the frame was read. Here, a stream waits with its window
 * update until half of its window was read, as in the Go implementation, so a stream of small frames sends little else.
 * The sender does not wait for it: it has the other half. The window is also larger from the start. A stream says so
 * when it opens, which every implementation of Yamux understands.
 */
import type { MessageStream, Stream, StreamMuxer, StreamMuxerFactory } from '@libp2p/interface'

/** The window at which a stream begins to receive. Yamux enlarges it when the line has a long round trip. */
export const RECEIVE_WINDOW_BYTES = 1024 * 1024

/** Two of the `StreamState`s of Yamux: a stream of the remote that this side has not answered, and an open one. */
const SYN_RECEIVED = 2
const ESTABLISHED = 3

/** A stream of `@chainsafe/libp2p-yamux`. */
interface YamuxStream extends Stream {
  readonly state: number
  recvWindow: number
  /** What the sender may still send. */
  readonly recvWindowCapacity: number
  sendWindowUpdate(): void
}

interface YamuxMuxer extends StreamMuxer {
  onCreateStream(): YamuxStream
  onRemoteStream(stream: YamuxStream): void
}

/** Returns the same factory, whose muxers from now on make streams that send their window updates late. */
export function withLateWindowUpdates<F extends StreamMuxerFactory>(factory: F): F {
  const create = factory.createStreamMuxer.bind(factory)
  factory.createStreamMuxer = (connection: MessageStream) => {
    const muxer = create(connection) as YamuxMuxer
    const onCreateStream = muxer.onCreateStream.bind(muxer)
    const onRemoteStream = muxer.onRemoteStream.bind(muxer)
    // Yamux opens the stream with a window update.
    muxer.onCreateStream = () => updateLate(onCreateStream())
    muxer.onRemoteStream = (stream) => {
      onRemoteStream(updateLate(stream))
      if (stream.state === SYN_RECEIVED) stream.sendWindowUpdate()
    }
    return muxer
  }
  return factory
}

/** Changes a new stream of Yamux. */
export function updateLate<S extends YamuxStream>(stream: S): S {
  const sendWindowUpdate = stream.sendWindowUpdate.bind(stream)
  stream.recvWindow = RECEIVE_WINDOW_BYTES
  stream.sendWindowUpdate = () => {
    // In other states, an update opens the stream or says that it is paused.
    if (stream.state === ESTABLISHED && stream.recvWindowCapacity > stream.recvWindow / 2) return
    sendWindowUpdate()
  }
  return stream
}
