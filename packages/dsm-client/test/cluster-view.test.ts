import { describe, expect, it } from 'vitest'
import { ClusterView } from '../src/session/cluster-view.js'

const IDS = [
  '12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X',
  '12D3KooWBhMbLvQHgqN2jXjA7rrw6yLSBTdvUpUhqMcEHRDEcEqo',
  '12D3KooWSCufgHzV4fCwRijfH2k3abrpAJxTKxEvN1FDuRXA2U9x'
]

function pickedAfterLoss(leader: string): (string | undefined)[] {
  const view = new ClusterView(IDS.map((id, i) => `/ip4/192.0.2.${i}/tcp/4001/p2p/${id}`))
  view.leader = leader
  expect(view.pick()?.peerId).toBe(leader)
  view.lost(leader)
  return [1, 2, 3].map(() => view.pick()?.peerId)
}

describe('a client that loses its connection to the leader', () => {
  it.each(IDS)(
    'a client that loses its connection to the leader asks the other peers before it asks that peer again, which may be dead (%s)',
    (leader) => {
      const picked = pickedAfterLoss(leader)
      expect(picked[2]).toBe(leader)
      expect(new Set(picked)).toEqual(new Set(IDS))
    }
  )
})
