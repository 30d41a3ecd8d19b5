// A peer that is alone, in a process that can run out of file descriptors on demand.
//   argv: a folder for it
// Prints its multiaddr; then, for each line on standard input, the same word when it is done:
//   exhaust  opens whatever can be opened
//   release  closes that again
import { closeSync, openSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { join } from 'node:path'
import { generatePrivateKey, peerIdFromKey } from '@quire/net'
import { createPeer } from '@quire/store'

const privateKey = await generatePrivateKey()
const peerId = peerIdFromKey(privateKey)
const voters = [{ peerId, addresses: ['/ip4/127.0.0.1/tcp/1'] }]
const peer = await createPeer({
  dataDir: join(process.argv[2], 'data'),
  privateKey,
  listen: ['/ip4/127.0.0.1/tcp/0'],
  cluster: { clusterId: 'alone', voters, admins: [], clients: 'any' }
})
console.log(peer.multiaddrs[0])

const held = []
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'release') {
    for (const fd of held.splice(0)) closeSync(fd)
  } else {
    try {
      for (;;) held.push(openSync('/dev/null', 'r'))
    } catch (error) {
      if (error.code !== 'EMFILE') throw error
    }
  }
  console.log(line)
}
await peer.close()
