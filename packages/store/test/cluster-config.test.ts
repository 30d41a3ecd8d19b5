import { MAX_CONFIGURATION_BYTES } from '@quire/protocol'
import { toString } from 'uint8arrays/to-string'
import { describe, expect, it } from 'vitest'
import { encodeCluster, normalizeCluster, type ClusterConfig } from '../src/peer/cluster.js'

/** PeerIds that no key has. */
function peerIds(count: number, kind: number): string[] {
  return Array.from({ length: count }, (_, i) => {
    const key = new Uint8Array(32)
    key.set([kind, i >> 8, i & 0xff])
    return toString(Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20, ...key), 'base58btc')
  })
}

function largest(nameLength: number): ClusterConfig {
  const voters = peerIds(64, 1).map((peerId, voter) => ({
    peerId,
    addresses: Array.from({ length: 16 }, (_, i) => `/dns4/${'x'.repeat(nameLength)}/tcp/${1000 + 16 * voter + i}`)
  }))
  return { clusterId: 'blue', voters, admins: peerIds(64, 2), clients: peerIds(4096, 3) }
}

describe('the size of the configuration that a cluster is founded from', () => {
  it('a configuration that fits a message between peers is accepted, and a larger one is refused with its size', () => {
    expect(encodeCluster(normalizeCluster(largest(200))).length).toBeGreaterThan(MAX_CONFIGURATION_BYTES - 32_768)
    expect(() => normalizeCluster(largest(253))).toThrow(
      /^cluster is "5\d{5} bytes", must be at most 522240 bytes in all$/
    )
  })

  it('a configuration with too many clients or admins is refused', () => {
    const config = largest(1)
    expect(() => normalizeCluster({ ...config, clients: peerIds(4097, 3) })).toThrow(
      'clients is 4097, must be at most 4096'
    )
    expect(() => normalizeCluster({ ...config, admins: peerIds(65, 2) })).toThrow('admins is 65, must be at most 64')
  })
})
