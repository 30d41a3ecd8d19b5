import type { QuireError } from '@quire/protocol'
import { Directory } from '../directory/directory.js'
import type {
  CoherenceMessage,
  DirectoryCommand,
  DirectoryEffect,
  DirectoryStats,
  DiscardRequest
} from '../directory/types.js'
import type { Applied, FileId, SessionId, StateView } from '../state/view.js'
import { BulkOrder, type WhenRepaired } from './bulk-order.js'
import type { Connection } from './connection.js'
import { joinHandovers } from './handover-runs.js'
import { Outbox } from './outbox.js'
import type { Proposals } from './proposals.js'

export interface DirectoryDriverInit {
  readonly term: number
  readonly view: StateView
  readonly proposals: Pick<Proposals, 'add'>
  /** The connection of a registered session. */
  readonly connection: (session: SessionId) => Connection | undefined
  /** A discard of the file is over. */
  readonly discarded: (file: FileId) => void
  readonly whenRepaired: WhenRepaired
  readonly guard: (input: () => void) => void
}

/**
 * Carries out what the owner directory of one term decides.
 *
 * Only the driver has the directory. Each method that changes the directory is an input: when it returns, the effects
 * of the input are carried out. After `end`, nothing is carried out.
 */
export class DirectoryDriver {
  private readonly directory: Directory
  private readonly bulk: BulkOrder
  private readonly outbox: Outbox
  private commands: DirectoryCommand[] = []
  private ended = false

  constructor(private readonly init: DirectoryDriverInit) {
    const { term, view, whenRepaired } = init
    this.directory = new Directory(term, view)
    const guard = (input: () => void): void => {
      if (!this.ended) init.guard(input)
    }
    this.bulk = new BulkOrder({ view, whenRepaired, guard })
    this.outbox = new Outbox(this.bulk)
  }

  connected(session: SessionId): void {
    this.bulk.forget(session)
    this.input((directory) => directory.connected(session))
  }

  disconnected(session: SessionId): void {
    this.bulk.forget(session)
    this.input((directory) => directory.disconnected(session))
  }

  receive(session: SessionId, message: CoherenceMessage): void {
    this.input((directory) => directory.receive(session, message))
  }

  discard(session: SessionId, request: DiscardRequest): QuireError | undefined {
    return this.input((directory) => directory.discard(session, request))
  }

  applied(outcome: Applied): void {
    this.input((directory) => directory.applied(outcome))
  }

  isDiscarding(file: FileId): boolean {
    return this.directory.isDiscarding(file)
  }

  stats(): DirectoryStats {
    return this.directory.stats()
  }

  /** The term is over. */
  end(): void {
    this.ended = true
    this.bulk.close()
  }

  private input<T>(change: (directory: Directory) => T): T {
    const result = change(this.directory)
    for (const effect of this.directory.effects()) {
      if (!this.ended) this.carryOut(effect)
    }
    this.flush()
    return result
  }

  private carryOut(effect: DirectoryEffect): void {
    const { connection, discarded } = this.init
    switch (effect.type) {
      case 'send': {
        const to = connection(effect.session)
        if (to !== undefined) this.outbox.add(to, effect.lane, effect.message)
        return
      }
      case 'repairAndSend': {
        const to = connection(effect.session)
        this.flush()
        if (to !== undefined) this.bulk.repairAndSend(to, effect.grant)
        return
      }
      case 'propose':
        this.commands.push(effect.command)
        return
      case 'discarded':
        this.flush()
        return discarded(effect.file)
    }
  }

  /** Sends and proposes what was collected, as runs. */
  private flush(): void {
    const commands = this.commands
    this.commands = []
    if (this.ended) return
    this.outbox.flush()
    for (const command of joinHandovers(commands)) this.propose(command)
  }

  private propose(command: DirectoryCommand): void {
    if (command.type === 'handover') {
      const to = this.init.connection(command.to)
      for (const i of command.pages.keys()) to?.faultProposed(command.file, command.page + i)
    }
    this.init.proposals.add(command)
  }
}
