/**
 * TCP connections over one thin line. All of them share its rate in each direction, and a buffer that blocks when it is
 * full.
 */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

export interface LineInit {
  readonly bytesPerSecond: number
  /** In each direction. */
  readonly bufferBytes: number
}

const TICK_MS = 5
const PACKET_BYTES = 1460

/** One direction. */
class Direction {
  private readonly queue: { to: Socket; bytes: Buffer }[] = []
  private queuedBytes = 0
  private budget = 0
  private readonly paused = new Set<Socket>()
  carriedBytes = 0

  constructor(private readonly init: LineInit) {}

  put(from: Socket, to: Socket, chunk: Buffer): void {
    for (let at = 0; at < chunk.length; at += PACKET_BYTES) {
      this.queue.push({ to, bytes: chunk.subarray(at, at + PACKET_BYTES) })
    }
    this.queuedBytes += chunk.length
    if (this.queuedBytes < this.init.bufferBytes) return
    from.pause()
    this.paused.add(from)
  }

  tick(ms: number): void {
    this.budget = Math.min(this.budget + (this.init.bytesPerSecond * ms) / 1000, PACKET_BYTES * 2)
    while (this.queue.length > 0 && this.budget >= this.queue[0]!.bytes.length) {
      const { to, bytes } = this.queue.shift()!
      this.budget -= bytes.length
      this.queuedBytes -= bytes.length
      this.carriedBytes += bytes.length
      if (!to.destroyed) to.write(bytes)
    }
    if (this.queuedBytes >= this.init.bufferBytes) return
    for (const socket of this.paused) socket.resume()
    this.paused.clear()
  }
}

export class ThinLine implements AsyncDisposable {
  private readonly up: Direction
  private readonly down: Direction
  private readonly servers: Server[] = []
  private readonly sockets = new Set<Socket>()
  private readonly timer: NodeJS.Timeout
  private tickedAt = performance.now()

  constructor(init: LineInit) {
    this.up = new Direction(init)
    this.down = new Direction(init)
    this.timer = setInterval(() => {
      const now = performance.now()
      for (const direction of [this.up, this.down]) direction.tick(now - this.tickedAt)
      this.tickedAt = now
    }, TICK_MS)
  }

  /** Bytes that have arrived at the near end. */
  get downBytes(): number {
    return this.down.carriedBytes
  }

  /** Opens a port of the near end that leads to this one on loopback. */
  async to(port: number): Promise<number> {
    const server = createServer((near) => {
      const far = connect(port, '127.0.0.1')
      this.join(near, far, this.up)
      this.join(far, near, this.down)
    })
    this.servers.push(server)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }

  private join(from: Socket, to: Socket, direction: Direction): void {
    this.sockets.add(from)
    from.setNoDelay(true)
    from.on('data', (chunk: Buffer) => direction.put(from, to, chunk))
    from.on('error', () => {})
    from.on('close', () => {
      this.sockets.delete(from)
      to.destroy()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.timer)
    for (const socket of this.sockets) socket.destroy()
    await Promise.all(this.servers.map((server) => new Promise((resolve) => server.close(resolve))))
  }
}
