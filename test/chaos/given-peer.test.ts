/** A peer of a user's cluster. */
import { expect, it } from 'vitest'
import { GivenPeer } from './src/cluster/given-peer.js'
import type { Operator } from './src/cluster/operator.js'
import type { Shell } from './src/cluster/shell.js'

it('a peer that an interrupted run has healed is not started again by the fault that killed it, and not killed again', async () => {
  const lines: string[] = []
  let healed: Promise<void> | undefined
  const run = (line: string): Promise<void> => {
    lines.push(line)
    // The interruption comes while the command is under way.
    if (line === 'kill') healed = peer.end()
    return Promise.resolve()
  }
  const status = (): Promise<object | undefined> => Promise.resolve(lines.at(-1) === 'kill' ? undefined : {})
  const operator = { status } as unknown as Operator
  const init = { name: 'peer1', member: { peerId: 'id', addresses: [] }, kill: 'kill', start: 'start' }
  const peer = new GivenPeer(init, { run } as unknown as Shell, operator)
  await peer.kill()
  await Promise.all([healed, peer.start()])
  expect(lines).toEqual(['kill', 'start'])
  await expect(peer.kill()).rejects.toThrow('the run is over')
  expect(lines).toEqual(['kill', 'start'])
})
