import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import type { Scheduler } from '../scheduler.js'
import { Violation } from '../violation.js'
import { encodeCommand, NOISE_PROPOSER } from './commands.js'
import type { RaftInvariants } from './invariants.js'
import type { SimNode } from './node.js'
import type { ClientSettings } from './settings.js'
import type { LivenessWatch } from './liveness-watch.js'

export interface ClientWorld {
  readonly scheduler: Scheduler
  readonly coverage: Coverage
  readonly random: RandomSource
  readonly settings: ClientSettings
  readonly nodes: ReadonlyMap<string, SimNode>
  readonly invariants: RaftInvariants
  readonly liveness: LivenessWatch
  readonly onError: (error: Error) => void
}

const MISDIRECTED_MS = 40

/**
 * Proposes one command at a time.
 *
 * It proposes the command to one node after the other until it is acknowledged.
 */
export class Proposer {
  /** The last command that was acknowledged to this client. */
  acknowledged = 0
  /** The current command; 0 if there is none. */
  sequence = 0
  private attempts = 0
  private hint: string | undefined
  private stopped = false

  constructor(
    private readonly number: number,
    private readonly world: ClientWorld,
    private readonly random: RandomSource
  ) {}

  start(): void {
    this.next()
  }

  /** Finishes the current command, and begins no other. */
  stop(): void {
    this.stopped = true
  }

  get isIdle(): boolean {
    return this.sequence === 0
  }

  private next(): void {
    this.sequence = 0
    const { scheduler, settings } = this.world
    scheduler.after(this.random.exponential(settings.pauseMs), `client ${this.number}`, () => {
      if (this.stopped) return
      this.sequence = this.acknowledged + 1
      this.attempts = 0
      this.attempt()
    })
  }

  /** Proposes the command, and again if no answer comes. An earlier attempt may still succeed. */
  private attempt(): void {
    const { sequence } = this
    const attempt = ++this.attempts
    const { scheduler, settings, coverage } = this.world
    if (attempt > 1) coverage.add('commands proposed again')
    const again = (ms: number): void => {
      scheduler.after(ms, `client ${this.number} again`, () => {
        if (this.sequence === sequence && this.attempts === attempt) this.attempt()
      })
    }
    const node = this.target()
    if (node === undefined) return again(MISDIRECTED_MS)
    let isTaken = false
    node.call(`client ${this.number} proposes`, (raft) => {
      const padding = this.random.int(0, settings.maxValueBytes)
      try {
        const { index, term } = raft.propose(encodeCommand(this.number, sequence, padding))
        isTaken = true
        node.pending.add(index, term, (fate) => {
          if (fate === 'applied') this.applied(node, sequence)
          else coverage.add(`proposals ${fate}`)
        })
      } catch (error) {
        this.refused(error as Error)
      }
    })
    again(isTaken ? settings.patienceMs : this.random.exponential(MISDIRECTED_MS))
  }

  private target(): SimNode | undefined {
    const { nodes } = this.world
    const hinted = this.hint === undefined ? undefined : nodes.get(this.hint)
    if (hinted?.isUp === true && this.attempts % 3 !== 0) return hinted
    const up = [...nodes.values()].filter(({ isUp }) => isUp)
    return up.length === 0 ? undefined : this.random.pick(up)
  }

  private refused(error: Error): void {
    this.world.coverage.add(`proposals refused: ${error.name}`)
    this.world.scheduler.hash.text(error.name)
    this.hint = (error as { leader?: string }).leader ?? this.hint
    if (error.name !== 'NotLeaderError' && error.name !== 'BackPressureError') this.world.onError(error)
  }

  private applied(node: SimNode, sequence: number): void {
    const has = node.application?.state.applied[this.number] ?? 0
    if (has < sequence) {
      const facts = `client ${this.number}: ${sequence} is acknowledged, ${node.name} has applied ${has}`
      throw new Violation('no command is lost', facts)
    }
    this.hint = node.name
    if (this.sequence !== sequence) return
    this.acknowledged = sequence
    this.world.coverage.add('commands acknowledged')
    this.world.scheduler.hash.number(this.number).number(sequence)
    this.next()
  }
}

/**
 * Runs the clients of the simulated cluster, which know only what nodes tell them.
 *
 * They are proposers and readers. Readers ask for read indexes.
 */
export class Clients {
  readonly proposers: Proposer[]
  private stopped = false

  constructor(private readonly world: ClientWorld) {
    const { random, settings } = world
    // Names of forks decide what a seed draws, so these keep the name that they were given first.
    this.proposers = Array.from(
      { length: settings.proposers },
      (_, i) => new Proposer(i, world, random.fork(`lane ${i}`))
    )
  }

  start(): void {
    for (const proposer of this.proposers) proposer.start()
    this.readRegularly()
  }

  stop(): void {
    this.stopped = true
    for (const proposer of this.proposers) proposer.stop()
  }

  /** Proposes many commands at once to each node that believes it leads. */
  burst(random: RandomSource): void {
    for (const node of this.world.nodes.values()) {
      if (node.status?.role !== 'leader') continue
      this.noise(node, random.int(5, 40), random)
    }
  }

  noise(node: SimNode, count: number, random: RandomSource): void {
    node.call(`burst at ${node.name}`, (raft) => {
      for (let i = 0; i < count; i++) {
        try {
          const data = encodeCommand(NOISE_PROPOSER, i, random.int(0, this.world.settings.maxValueBytes))
          const { index, term } = raft.propose(data)
          node.pending.add(index, term, () => {})
        } catch (error) {
          this.world.coverage.add(`proposals refused: ${(error as Error).name}`)
          return
        }
      }
    })
  }

  private readRegularly(): void {
    const { scheduler, random, settings, nodes } = this.world
    scheduler.after(random.exponential(settings.readPauseMs), 'reader', () => {
      if (this.stopped) return
      const leading = [...nodes.values()].filter(({ status }) => status?.role === 'leader')
      // Asks each node that believes it leads, and occasionally another one.
      for (const node of leading) this.read(node)
      if (random.is(0.1)) this.read(random.pick([...nodes.values()]))
      this.readRegularly()
    })
  }

  read(node: SimNode): void {
    const { invariants, liveness, coverage, scheduler } = this.world
    node.call(`reader at ${node.name}`, (raft) => {
      const floor = invariants.commitIndex
      const newest = invariants.log.committed[floor]!.inTerm
      const { term } = raft.status()
      const { application } = node
      liveness.add(node, 'read index', raft.readIndex(), {
        done: (index) => {
          coverage.add('read indexes')
          scheduler.hash.number(index)
          if (index < floor) {
            throw new Violation(
              'reads are linearizable',
              `${node.name} reads at ${index}, ${floor} was committed before`
            )
          }
          if (newest > term) {
            const facts = `${node.name} confirms a read in term ${term}, entries of term ${newest} were committed before`
            throw new Violation('reads are linearizable', facts)
          }
          if ((application?.appliedIndex ?? 0) < index) {
            throw new Violation('reads are linearizable', `${node.name} has not applied ${index}`)
          }
        },
        failed: (error) => {
          coverage.add(`reads refused: ${error.name}`)
          scheduler.hash.text(error.name)
          if (error.name !== 'NotLeaderError' && error.name !== 'BackPressureError') throw error
        }
      })
    })
  }
}
