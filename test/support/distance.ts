/** Puts every remote that this process dials far away, under any address. */
import { once } from 'node:events'
import net, { type NetConnectOpts, type Socket, type TcpNetConnectOpts } from 'node:net'
import { startDelayProxy, type Target } from './delay-proxy.js'

export interface Distance extends AsyncDisposable {
  /** Applies to bytes that are sent from now on. */
  roundTripMs: number
  /** New connections are near again. Existing ones stay as far as they are. */
  end(): void
}

/** Applies to everything that is dialed from now on by `net.connect`, as libp2p does. */
export async function moveAway(roundTripMs: number): Promise<Distance> {
  const connect = net.connect
  const dialed = new Map<number, Promise<Target>>()
  const arrivals = new Map<number, (target: Target) => void>()
  const targetOf = (port: number): Promise<Target> => {
    let target = dialed.get(port)
    if (target === undefined) dialed.set(port, (target = new Promise((resolve) => arrivals.set(port, resolve))))
    return target
  }
  // Both ends of the connection to the proxy are in this process, and either may hear of it first.
  const proxy = await startDelayProxy({ roundTripMs, target: targetOf })
  const dial = (options: NetConnectOpts): Socket => {
    const { host = '127.0.0.1', port } = options as TcpNetConnectOpts
    const socket = connect({ ...options, host: '127.0.0.1', port: proxy.port })
    const onConnect = (): void => {
      const from = socket.localPort!
      void targetOf(from)
      arrivals.get(from)!({ host, port })
      socket.once('close', () => {
        dialed.delete(from)
        arrivals.delete(from)
      })
    }
    once(socket, 'connect').then(onConnect, () => {})
    return socket
  }
  const end = (): void => {
    net.connect = connect
  }
  net.connect = dial as typeof net.connect
  return {
    get roundTripMs() {
      return proxy.roundTripMs
    },
    set roundTripMs(ms) {
      proxy.roundTripMs = ms
    },
    end,
    async [Symbol.asyncDispose]() {
      end()
      await proxy[Symbol.asyncDispose]()
    }
  }
}
