// Opens two nodes and a stream between them, and closes the nodes. The process must then end by itself.
import { createLibp2pNetwork, generatePrivateKey } from '@quire/net'

const [serverKey, clientKey] = await Promise.all([generatePrivateKey(), generatePrivateKey()])
const server = await createLibp2pNetwork({ privateKey: serverKey, listen: ['/ip4/127.0.0.1/tcp/0'] })
const client = await createLibp2pNetwork({ privateKey: clientKey, listen: [] })
server.handle('/test/echo/1', 64, (stream) => {
  stream.onFrame = () => stream.send(Uint8Array.of(1, 0, 0, 0, 7))
})
const stream = await client.dial(server.peerId, server.multiaddrs, { protocol: '/test/echo/1', maxFrameBytes: 64 })
await new Promise((resolve) => {
  stream.onFrame = resolve
  stream.send(Uint8Array.of(1, 0, 0, 0, 7))
})
await server.close()
await client.close()
console.log('closed')
