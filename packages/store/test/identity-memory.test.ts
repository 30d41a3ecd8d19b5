import { MAX_ADDRESS_BYTES, MAX_DIGEST_BYTES, MAX_MEMBERS, MAX_PEER_ID_BYTES } from '@quire/protocol'
import { expect, it } from 'vitest'
import { PEERS_SLOT_BYTES } from '../src/peer/data-dir.js'
import { createPeerIdentity } from '../src/peer/identity.js'
import { MAX_LEARNED_BYTES } from '../src/peer/learned-addresses.js'
import { createMemoryIdentity } from '../src/peer/memory-identity.js'
import { founded } from './support/linked-peer.js'

it('the memory of a peer of the largest cluster fits a slot', async () => {
  const storage = createMemoryIdentity({ incarnation: 'a' })
  const none = { term: 0, lastTerm: 0, lastIndex: 0 }
  const identity = await createPeerIdentity({
    id: 'a',
    storage,
    founding: founded(['a']),
    random: { next: () => 0 },
    durableMark: () => none,
    committedMark: () => none
  })
  const longest = { incarnation: 'i'.repeat(MAX_DIGEST_BYTES), process: 'p'.repeat(MAX_DIGEST_BYTES) }
  const mark = {
    term: Number.MAX_SAFE_INTEGER,
    lastTerm: Number.MAX_SAFE_INTEGER,
    lastIndex: Number.MAX_SAFE_INTEGER
  }
  for (let i = 0; i < MAX_MEMBERS; i++) {
    const peerId = `${i}`.padEnd(MAX_PEER_ID_BYTES, 'x')
    identity.learn([{ member: peerId, ...longest, boot: Number.MAX_SAFE_INTEGER, admitted: true, ...mark, past: mark }])
    for (const kept of [identity.learned, identity.hinted]) {
      for (const bytes of [MAX_ADDRESS_BYTES, 64]) {
        const addresses = Array.from({ length: 8 }, (_, n) => `${n}`.padEnd(bytes, 'a'))
        kept.learn(peerId, addresses)
      }
      expect(kept.of(peerId).join('').length).toBeGreaterThan(MAX_LEARNED_BYTES / 2)
    }
  }
  await identity.save()
  expect(identity.hinted.members).toHaveLength(MAX_MEMBERS)
  expect(storage.remembered.length).toBeGreaterThan(PEERS_SLOT_BYTES / 2)
  expect(storage.remembered.length).toBeLessThan(PEERS_SLOT_BYTES - 16)
})
