/**
 * Writes everything that a connection sends in one turn of the event loop with one system call.
 *
 * `@libp2p/tcp` writes each piece to the socket by itself, and Noise makes two pieces of a packet: its length and its
 * bytes. The length alone wakes the receiver up for nothing.
 */
import type { ConnectionEncrypter, MessageStream } from '@libp2p/interface'
import { Socket } from 'node:net'
import { nodeEventLoop } from './event-loop.js'

/** With this many bytes in the socket, the connection accepts no more until the socket has written all of them. */
const HIGH_WATER_BYTES = 256 * 1024

/** A connection of `@libp2p/tcp`. */
interface SocketConnection extends MessageStream {
  readonly socket: Socket
  sendData(data: Iterable<Uint8Array> & { readonly byteLength: number }): {
    readonly sentBytes: number
    readonly canSendMore: boolean
  }
}

/** Returns the same encrypter, which from now on joins the writes of each connection that it secures. */
export function withJoinedWrites<E extends ConnectionEncrypter>(encrypter: E): E {
  const inbound = encrypter.secureInbound.bind(encrypter)
  const outbound = encrypter.secureOutbound.bind(encrypter)
  encrypter.secureInbound = (connection, options) => inbound(joinWrites(connection), options)
  encrypter.secureOutbound = (connection, options) => outbound(joinWrites(connection), options)
  return encrypter
}

/** Changes a connection of a socket. Others stay as they are: relayed connections send on the relay's connection. */
export function joinWrites<C extends MessageStream>(connection: C): C {
  if (!isOnSocket(connection)) return connection
  const { socket } = connection
  let isCorked = false
  connection.sendData = (data) => {
    if (!isCorked) {
      isCorked = true
      socket.cork()
      // Frames leave their streams at the end of a turn, and the socket has to follow them.
      nodeEventLoop.atEndOfTurn(() => {
        nodeEventLoop.atEndOfTurn(() => {
          isCorked = false
          socket.uncork()
        })
      })
    }
    for (const piece of data) socket.write(piece)
    // After `write` has returned false, the socket emits `drain` when it is empty. Its own limit is below this one.
    return { sentBytes: data.byteLength, canSendMore: socket.writableLength < HIGH_WATER_BYTES }
  }
  return connection
}

function isOnSocket<C extends MessageStream>(connection: C): connection is C & SocketConnection {
  return (connection as Partial<SocketConnection>).socket instanceof Socket
}
