// Runs a node that echoes frames, for tests that stop or kill a process. Prints its multiaddr on one line.
import { createLibp2pNetwork, generatePrivateKey } from '@quire/net'

const network = await createLibp2pNetwork({ privateKey: await generatePrivateKey(), listen: ['/ip4/127.0.0.1/tcp/0'] })
network.handle('/test/echo/1', 1 << 20, (stream) => {
  stream.onFrame = (frame) => stream.send(withLength(frame))
})
let received = 0
network.handle('/test/count/1', 1 << 20, (stream) => {
  // Answers each frame with the number of bytes received so far.
  stream.onFrame = (frame) => {
    received += frame.length
    const answer = new Uint8Array(8)
    new DataView(answer.buffer).setFloat64(0, received, true)
    stream.send(withLength(answer))
  }
})
console.log(network.multiaddrs[0])

function withLength(frame) {
  const bytes = new Uint8Array(4 + frame.length)
  new DataView(bytes.buffer).setUint32(0, frame.length, true)
  bytes.set(frame, 4)
  return bytes
}
