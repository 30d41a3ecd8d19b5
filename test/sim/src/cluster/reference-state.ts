import { decode, raftConfiguration } from '@quire/protocol'
import type { Entry } from '@quire/raft'
import { createMemoryStorage, createPageStore, createStateMachine, type StateMachine } from '@quire/store/internal'
import type { SimPeer } from './peers.js'

/**
 * Tells what the state after any committed entry is.
 *
 * It applies the log from its first entry on, apart from all peers.
 */
export class ReferenceState {
  /** Entry 1 is the first one. */
  private readonly entries: Entry[] = []
  private machine: StateMachine

  constructor(private readonly maxReleased: number) {
    this.machine = this.emptyMachine()
  }

  /** A peer has applied the entry. Only the first peer's entry counts: LogInvariants compares the others with it. */
  applied(peer: SimPeer, index: number): void {
    if (index !== this.entries.length + 1) return
    const [entry] = peer.core!.root.replica.log.entries(index, index + 1, 1)
    this.entries.push(entry!)
  }

  digestAt(index: number): string {
    if (index < this.machine.appliedIndex) this.machine = this.emptyMachine()
    for (const { index: at, kind, data } of this.entries.slice(this.machine.appliedIndex, index)) {
      this.machine.apply(at, kind, kind === 'config' ? decode(raftConfiguration, data).context : data)
    }
    return this.machine.digest()
  }

  private emptyMachine(): StateMachine {
    const backend = createMemoryStorage({ schedule: queueMicrotask }).open()
    const store = createPageStore({ backend })
    return createStateMachine(store, store.restored, this.maxReleased)
  }
}
