/** The invariants of a seed's end, when no call is open and all members agree. */
import type { Coverage } from '../coverage.js'
import { Violation } from '../violation.js'
import type { Clients } from './clients.js'
import type { RaftInvariants } from './invariants.js'
import type { SimNode } from './node.js'
import type { RaftSettings } from './settings.js'

interface Observed {
  readonly invariants: RaftInvariants
  readonly clients: Clients
  readonly coverage: Coverage
}

/** All nodes have the same entries and the same state, and every acknowledged command was applied once. */
export function checkAgreement({ invariants, clients, coverage }: Observed, members: readonly SimNode[]): void {
  const { committed } = invariants.log
  const repeated = members.map(({ application }) => application!.state.repeated)
  coverage.add('commands twice in the log', Math.max(...repeated))
  for (const { name, log, application, watched } of members) {
    const { proposers } = clients
    for (const [number, proposer] of proposers.entries()) {
      const has = application!.state.applied[number] ?? 0
      if (has !== proposer.acknowledged) {
        const facts = `client ${number} has ${proposer.acknowledged} acknowledged, ${name} has applied ${has}`
        throw new Violation('every command is applied once', facts)
      }
    }
    for (let index = log!.firstIndex; index <= log!.lastIndex; index++) {
      if (log!.term(index) !== committed[index]?.term || watched.entries[index]?.term !== committed[index]?.term) {
        throw new Violation('log matching', `${name} has another entry ${index} than what is committed`)
      }
    }
  }
}

/** Except for what is kept for followers, the log before the newest snapshot is at most part of one segment. */
export function checkBounds({ limits }: RaftSettings, members: readonly SimNode[]): void {
  const { retainedBytes = 0 } = limits
  for (const { name, log, application, disk } of members) {
    const end = application?.takenIndex ?? 0
    if (log === undefined || end < log.firstIndex) continue
    let bytes = 0
    for (let index = log.firstIndex; index <= end; index++) bytes += log.entries(index, index + 1, 1)[0]!.data.length
    // A batch that does not fit gets a larger segment.
    if (bytes > retainedBytes + disk.largestFileBytes) {
      const facts = `${name} keeps ${log.firstIndex}..${end}, ${bytes} bytes; it retains ${retainedBytes}, and no segment has more than ${disk.largestFileBytes}`
      throw new Violation('compaction bounds the log', facts)
    }
  }
}
