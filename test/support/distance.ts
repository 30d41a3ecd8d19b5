/** Puts everybody whom this process dials far away, under whatever address. */
import { once } from 'node:events'
import net, { type NetConnectOpts, type Socket, type TcpNetConnectOpts } from 'node:net'
import { startDelayProxy, type Target } from './delay-proxy.js'

export interface Distance extends AsyncDisposable {
  /** For what is sent from now on. */
  roundTripMs: number
  /** From now on, what is dialed is near again; connections that are there stay as far as they are. */
  end(): void
}

/** For all that is dialed from now on by `net.connect`, as libp2p does. */
export async function moveAway(roundTripMs: number): Promise<Distance> {
  const connect = net.connect
  const dialed = new Map<number, Promise<Target>>()
  const arrivals = new Map<number, (target: Target) => void>()
  const targetOf = (port: number): Promise<Target> => {
    let target = dialed.get(port)
    if (target === undefined) dialed.set(port, (target = new Promise((resolve) => arrivals.set(port, resolve))))
    return target
  }
  // Both ends of the connection to the proxy are here, and either may hear of it first.
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
