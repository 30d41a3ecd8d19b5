/** Transfers of leadership, with checks of what they promise (thesis §3.10). */
import type { RaftNode } from '@quire/raft'
import type { Coverage } from '../coverage.js'
import { Violation } from '../violation.js'
import { TRANSFER_TIMEOUTS } from './bounds.js'
import { encodeCommand, NOISE_PROPOSER } from './commands.js'
import type { LivenessWatch } from './liveness-watch.js'
import type { SimNode } from './node.js'
import type { RaftSettings } from './settings.js'

interface TransferWorld {
  readonly coverage: Coverage
  readonly settings: RaftSettings
  readonly liveness: LivenessWatch
}

/** Asks a node to transfer leadership, if it runs. `to` undefined lets it choose. */
export function transferLeadership(world: TransferWorld, from: SimNode | undefined, to: string | undefined): void {
  from?.call(`${from.name} transfers to ${to ?? 'anybody'}`, (node) => {
    const { role, term } = node.status()
    const { liveness, coverage, settings } = world
    const handlers = {
      done: () => {
        coverage.add('transfers')
        // The node has heard of another leader, which may lead a later term.
        const now = node.status()
        if (now.role === 'leader' && now.term === term) {
          throw new Violation('a transfer that is done is done', `${from.name} still leads term ${term}`)
        }
      },
      failed: (error: Error) => {
        coverage.add(`transfers refused: ${error.name}`)
        const now = node.status()
        if (error.name === 'TransferFailedError' && now.term > term) coverage.add('transfers without a new leader')
        if (role !== 'leader' && error.name !== 'NotLeaderError') throw error
      }
    }
    const maxTicks = TRANSFER_TIMEOUTS * settings.electionTicks
    liveness.add(from, `transfer to ${to}`, node.transferLeadership(to), handlers, maxTicks)
    expectNoProposals(from, node, to)
  })
}

/** A leader that gives leadership away accepts nothing more (thesis §3.10). */
function expectNoProposals(from: SimNode, node: RaftNode, to: string | undefined): void {
  const { role, voters } = node.status()
  if (role !== 'leader' || to === undefined || to === from.name || !voters.includes(to)) return
  try {
    node.propose(encodeCommand(NOISE_PROPOSER, 0, 0))
  } catch (error) {
    if ((error as Error).name === 'BackPressureError') return
  }
  throw new Violation('a transfer takes no proposals', `${from.name} is on its way out to ${to}`)
}
