/** Peers find each other after addresses have changed since the cluster was founded. */
import { describe, expect, it } from 'vitest'
import { quire } from '../../packages/cli/test/support/quire.js'
import { startCluster, until, type PeerProcess, type TestCluster } from './support/cluster.js'

const ANY_PORT = '/ip4/127.0.0.1/tcp/0'

async function addressOf({ stdout }: { readonly stdout: string }): Promise<string> {
  return (JSON.parse(stdout.split('\n')[0]!) as { multiaddr: string }).multiaddr
}

/** Kills the peers and starts them at other addresses. Resolves with these once `witness` knows them. */
async function move(test: TestCluster, witness: PeerProcess, ...peers: PeerProcess[]): Promise<string[]> {
  await test.kill(...peers)
  const places: string[] = []
  for (const peer of peers) places.push(await addressOf(await test.restartAt(peer, ANY_PORT)))
  await until(async () => {
    const { stdout } = await quire(['status', '--json', '--peers', witness.multiaddr, '--timeout', '1s'])
    return places.every((place) => stdout.includes(place))
  }, 'a peer to learn the new addresses')
  return places
}

describe('followers that have both moved', () => {
  it('two followers that have moved find each other without the leader, even if both were down at the same time', async () => {
    await using test = await startCluster()
    const leader = await test.leader()
    const followers = test.peers.filter((peer) => peer !== leader)
    // Neither is at an address of which the other has ever heard.
    const places = await move(test, leader, ...followers)
    await test.kill(leader)
    await until(
      async () => (await quire(['health', '--peers', places.join(',')])).status === 0,
      'the two peers to find each other'
    )
  }, 90_000)

  it('two followers that have moved keep a client that stayed connected to their leader', async () => {
    await using test = await startCluster()
    const client = await test.client()
    const file = await client.open('/moved', { create: true, size: 8192 })
    await file.write(0, new Uint8Array([1]))
    const { id } = client.session
    const leader = await test.leader()
    for (const follower of test.peers.filter((peer) => peer !== leader)) await move(test, leader, follower)
    await test.kill(leader)
    await file.write(4096, new Uint8Array([2]))
    await file.sync()
    expect((await file.read(0, 1))[0]).toBe(1)
    expect(client.session).toMatchObject({ id, state: 'active' })
  }, 90_000)
})

describe('peers that have all moved', () => {
  it('peers that have all moved find each other at the last known address of one of them, even if it has restarted since', async () => {
    await using test = await startCluster()
    const [moved, restarted, gone] = test.peers as [PeerProcess, PeerProcess, PeerProcess]
    await test.kill(moved)
    const there = await addressOf(await test.restartAt(moved, ANY_PORT))
    const knows = async (): Promise<boolean> => {
      const { stdout } = await quire(['status', '--json', '--peers', restarted.multiaddr, '--timeout', '1s'])
      return stdout.includes(there)
    }
    await until(knows, 'the other peer to learn the new address')
    await test.kill(restarted, gone)
    // No peer is where the configuration says, and the moved peer does not know the new address of this one.
    const here = await addressOf(await test.restartAt(restarted, ANY_PORT))
    await until(
      async () => (await quire(['health', '--peers', [there, here].join(',')])).status === 0,
      'the two peers to find each other'
    )
    const client = await test.client({ peers: [here] })
    const file = await client.open('/after', { create: true, size: 10 })
    await file.write(0, new Uint8Array([1]))
    await file.sync()
    expect((await file.read(0, 1))[0]).toBe(1)
  }, 90_000)
})
