import type { Random } from '@quire/protocol'
import type { RaftCore } from '../../src/core/index.js'
import { formatEntry } from './golden-format.js'
import { GoldenEnv } from './golden-env.js'
import { CommandError, parseCommand } from './golden-script.js'

const IDS = ['a', 'b', 'c', 'd', 'e']
/** Ticks of every node after which a cluster without faults must be at rest. */
const SETTLING_TICKS = 400

/**
 * Draws a random golden script.
 *
 * Its messages get lost, duplicated, delayed and reordered, disks are slow, nodes crash, and everything changes. No
 * invariant may break, and after the faults all members must reach the same state. A failure is a script that can be
 * replayed.
 */
export class RandomScript {
  readonly lines: string[] = []
  private readonly env = new GoldenEnv()
  private readonly chosen = new Map<number, string>()
  private readonly leaders = new Map<number, string>()
  private values = 0

  constructor(private readonly random: Random) {}

  run(steps: number): void {
    this.start()
    for (let i = 0; i < steps; i++) this.step()
    this.endFaults()
  }

  private start(): void {
    const voters = IDS.slice(0, 2 + this.below(3))
    const limits = [
      `maxInflightMessages=${1 + this.below(3)}`,
      `maxAppendBytes=${this.pick([1, 50, 1000])}`,
      `maxApplyBytes=${this.pick([1, 60, 1000])}`
    ]
    this.do(`cluster ${voters.join(' ')} ${limits.join(' ')}`)
    for (const id of IDS.slice(voters.length)) this.do(`join ${id}`)
  }

  private step(): void {
    const id = this.pick(IDS)
    const core = this.core(id)
    const n = `n=${1 + this.below(4)}`
    const x = this.below(100)
    if (x < 40)
      this.do(`deliver ${this.pick(['all', `${this.pick(IDS)}>`, `>${id}`])} ${n} ${this.pick(['', '', '', 'last'])}`)
    else if (x < 55) this.tick([id], this.pick([1, 2, 2, 3, 10, 12]))
    else if (x < 60) this.tick(IDS, 2)
    else if (x < 70) this.do(this.pick([`drop all ${n}`, `duplicate all ${n}`, `hold all ${n}`, 'release']))
    else if (x < 78) this.do(`propose ${this.proposer()} v${++this.values} v${++this.values}`)
    else if (x < 81) this.change(this.proposer())
    else if (x < 83) this.do(this.pick([`transfer ${this.proposer()} ${id}`, `read ${this.proposer()} ${x}`]))
    else if (x < 86) this.do(`byhand ${id} ${this.pick(['disk', 'machine', 'store'])}`)
    else if (x < 90) this.do(`flush ${id} ${n}`)
    else if (x < 94) this.do(`finish ${id} ${this.pick(['apply', 'read', 'store', 'install', 'refuse'])}`)
    else if (x < 97) this.do(core !== undefined && x === 94 ? `crash ${id}` : `restart ${id}`)
    else this.snapshot(id)
  }

  /** Draws a node, mostly the leader if there is one. */
  private proposer(): string {
    const leader = IDS.find((id) => this.core(id)?.role === 'leader')
    return leader !== undefined && this.below(4) > 0 ? leader : this.pick(IDS)
  }

  private change(at: string): void {
    // A node with an empty log grants no vote, so it must learn first.
    const type = (id: string): string =>
      this.pick(
        this.env.nodes.get(id)!.storage.lastIndex === 0 ? ['learner', 'removed'] : ['voter', 'learner', 'removed']
      )
    const [one, other] = [this.pick(IDS), this.pick(IDS)]
    const changes = new Map([one, other].map((id) => [type(id), id]))
    this.do(`change ${at} ${[...changes].map(([key, id]) => `${key}=${id}`).join(' ')}`)
  }

  private snapshot(id: string): void {
    if ((this.core(id)?.appliedIndex ?? 0) === 0 || !this.do(`snapshot ${id}`)) return
    const { firstIndex, appliedIndex } = this.core(id)!
    const { storage } = this.env.nodes.get(id)!
    const index = Math.min(storage.lastIndex, Math.max(firstIndex, appliedIndex - this.below(3)))
    if (index >= storage.firstIndex && index <= appliedIndex) this.do(`compact ${id} ${index}`)
  }

  private tick(ids: readonly string[], count: number): void {
    for (const id of ids) {
      if (this.core(id) === undefined) continue
      this.do(`timeout ${id} ${10 + this.below(10)}`)
      this.do(`tick ${id} ${count}`)
    }
  }

  /** Ends the faults, and runs until a leader is elected and every node has every entry. */
  private endFaults(): void {
    this.do('release')
    for (const id of IDS) this.do(`restart ${id}`)
    for (const id of IDS) {
      this.do(`auto ${id}`)
      while (['apply', 'read', 'store', 'install'].some((what) => this.do(`finish ${id} ${what}`)));
    }
    for (let round = 0; round < SETTLING_TICKS; round++) {
      this.tick(IDS, 1)
      this.do('stabilize')
      const leader = IDS.find((id) => this.core(id)?.role === 'leader')
      if (leader === undefined || round < SETTLING_TICKS / 4) continue
      if (round % 20 === 0) this.do(`propose ${leader} v${++this.values}`)
      else if (this.isAtRest(leader)) return
    }
    throw new Error(
      `it does not come to rest:\n${IDS.map((id) => `${id} ${this.env.nodes.get(id)!.status()}`).join('\n')}`
    )
  }

  private isAtRest(leader: string): boolean {
    const { configuration, lastIndex } = this.core(leader)!
    const { voters, learners, outgoing } = configuration
    const stateOf = (id: string): string | undefined => this.env.nodes.get(id)?.state()
    return [...voters, ...learners, ...outgoing].every(
      (id) => this.core(id)?.appliedIndex === lastIndex && stateOf(id) === stateOf(leader)
    )
  }

  /** Returns false if the command is invalid now. */
  private do(line: string): boolean {
    if (line.startsWith('restart') && this.core(line.slice(-1)) !== undefined) return false
    this.lines.push(line)
    try {
      const stopped = this.env.run(parseCommand(line.trim())).find((each) => each.includes(' stops: '))
      if (stopped !== undefined) throw new Error(stopped)
    } catch (error) {
      if (!(error instanceof CommandError)) throw error
      this.lines.pop()
      return false
    }
    for (const id of IDS) this.check(id)
    return true
  }

  /** Checks Election Safety, and State Machine Safety for the newest entries (Figure 3). */
  private check(id: string): void {
    const { core, storage } = this.env.nodes.get(id) ?? {}
    if (core === undefined || storage === undefined) return
    if (core.role === 'leader') this.agree(this.leaders, core.term, id)
    // During an installation the stored pieces are ahead of the log.
    if (core.firstIndex !== storage.firstIndex) return
    for (let i = Math.max(storage.firstIndex, core.appliedIndex - 3); i <= core.appliedIndex; i++) {
      this.agree(this.chosen, i, formatEntry(storage.stored[i - storage.firstIndex]!))
    }
  }

  private agree(known: Map<number, string>, key: number, value: string): void {
    const first = known.get(key) ?? value
    if (first !== value) throw new Error(`${key} is ${first} and ${value}`)
    known.set(key, first)
  }

  private core(id: string): RaftCore | undefined {
    return this.env.nodes.get(id)?.core
  }

  private below(n: number): number {
    return Math.floor(this.random.next() * n)
  }

  private pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }
}
