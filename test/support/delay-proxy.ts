/** A TCP proxy that puts its target far away: each byte takes half a round trip in either direction. */
import { once } from 'node:events'
import net, { createServer, type AddressInfo, type Server, type Socket } from 'node:net'

export interface Target {
  readonly host: string
  readonly port: number
}

export interface DelayProxyInit {
  readonly roundTripMs: number
  /**
   * Returns the target of a connection that came from this port. The proxy asks only once the connection exists, so it
   * can start before its target. Without a target it hangs up.
   */
  readonly target: (fromPort: number) => Target | undefined | Promise<Target | undefined>
}

export interface DelayProxy extends AsyncDisposable {
  /** On 127.0.0.1. */
  readonly port: number
  /** Connections that were made so far. */
  readonly connections: number
  /** Applies to bytes that arrive from now on. */
  roundTripMs: number
}

/** The most bytes in flight in one direction. Beyond that the sender waits, as it does for TCP's window. */
const MAX_BYTES_IN_FLIGHT = 16 * 1024 * 1024

export async function startDelayProxy(init: DelayProxyInit): Promise<DelayProxy> {
  const proxy = new Proxy(init)
  await proxy.listen()
  return proxy
}

class Proxy implements DelayProxy {
  connections = 0
  roundTripMs: number
  private readonly sockets = new Set<Socket>()
  private readonly server: Server
  /** The proxy's own connections stay as near as they are. */
  private readonly connect = net.connect

  constructor(private readonly init: DelayProxyInit) {
    this.roundTripMs = init.roundTripMs
    this.server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => void this.accept(socket))
  }

  async listen(): Promise<void> {
    this.server.listen(0, '127.0.0.1')
    await once(this.server, 'listening')
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    this.server.close()
    await once(this.server, 'close')
  }

  private async accept(near: Socket): Promise<void> {
    // The dialer believes that it is connected already. TCP's own handshake would have taken a round trip.
    const notBefore = performance.now() + this.roundTripMs
    near.on('error', () => near.destroy())
    const target = await this.init.target(near.remotePort!)
    if (target === undefined) return void near.destroy()
    this.connections++
    const far = this.connect({ ...target, noDelay: true, allowHalfOpen: true })
    this.relay(near, far, notBefore)
    this.relay(far, near, 0)
  }

  /** Carries bytes, and the end, from one socket to the other. Nothing leaves before `notBefore`. */
  private relay(from: Socket, to: Socket, notBefore: number): void {
    let inFlight = 0
    let lastDue = notBefore
    const later = (deliver: () => void): void => {
      // Timers of equal length fire in order, but the length may change.
      lastDue = Math.max(lastDue, notBefore + this.roundTripMs / 2, performance.now() + this.roundTripMs / 2)
      // Node truncates the fraction, and may fire up to a millisecond early. Nothing may arrive too soon.
      setTimeout(deliver, Math.ceil(lastDue - performance.now()) + 1)
    }
    this.sockets.add(from)
    from.on('data', (chunk: Buffer) => {
      inFlight += chunk.length
      if (inFlight > MAX_BYTES_IN_FLIGHT) from.pause()
      later(() => {
        inFlight -= chunk.length
        if (inFlight <= MAX_BYTES_IN_FLIGHT) from.resume()
        if (!to.destroyed) to.write(chunk)
      })
    })
    from.on('end', () => later(() => to.end()))
    from.on('error', () => later(() => to.destroy()))
    from.on('close', () => {
      this.sockets.delete(from)
      later(() => to.destroy())
    })
  }
}
