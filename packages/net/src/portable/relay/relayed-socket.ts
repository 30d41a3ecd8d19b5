import '../polyfill.js'
import type { AbortOptions, Stream } from '@libp2p/interface'
import { AbstractMultiaddrConnection } from '@libp2p/utils'
import type { Multiaddr } from '@multiformats/multiaddr'

/** A stream through a relay in the place of a socket: libp2p secures and multiplexes it like one. */
export class RelayedSocket extends AbstractMultiaddrConnection {
  constructor(
    private readonly stream: Stream,
    remoteAddr: Multiaddr
  ) {
    super({ remoteAddr, direction: stream.direction, log: stream.log.newScope('relayed') })
    stream.addEventListener('message', ({ data }) => this.onData(data))
    stream.addEventListener('drain', () => this.safeDispatchEvent('drain'))
    stream.addEventListener('close', ({ error }) => this.onTransportClosed(error))
    stream.addEventListener('remoteCloseWrite', () => {
      this.onRemoteCloseWrite()
      this.close().catch((error: unknown) => this.abort(error as Error))
    })
  }

  override sendData(data: Parameters<AbstractMultiaddrConnection['sendData']>[0]): {
    sentBytes: number
    canSendMore: boolean
  } {
    // Measured first, because the stream takes the bytes out of `data`.
    const sentBytes = data.byteLength
    return { sentBytes, canSendMore: this.stream.send(data) }
  }

  override sendClose(options?: AbortOptions): Promise<void> {
    return this.stream.close(options)
  }

  override sendReset(error: Error): void {
    this.stream.abort(error)
  }

  override sendPause(): void {
    this.stream.pause()
  }

  override sendResume(): void {
    this.stream.resume()
  }
}
