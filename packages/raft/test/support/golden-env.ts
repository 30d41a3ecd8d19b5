import type { MembershipChange, RaftCore, Refusal } from '../../src/core/index.js'
import { fromString } from 'uint8arrays/from-string'
import { LIMITS } from './core-harness.js'
import { formatEntries, formatMessage } from './golden-format.js'
import { formatPacket, GoldenNetwork, type Packet, type Selector } from './golden-network.js'
import { ELECTION_TICKS, GoldenNode, type Part } from './golden-node.js'
import { CommandError, type Command } from './golden-script.js'
import { entry, firstConfiguration, HandStorage } from './hand-storage.js'

/** More deliveries than any script needs until no message is under way. */
const MAX_DELIVERIES = 10_000

/**
 * Runs the commands of a golden script on several cores.
 *
 * The commands, with a node `a`:
 *
 * | command | |
 * |---|---|
 * | `cluster a b c learners=d` | starts over: nodes whose logs hold the configuration; options set limits of the core |
 * | `node a log=1,1,2 term=3 vote=b commit=2` | restarts `a` with entries of these terms, the configuration first |
 * | `join d` | starts `d` with an empty log |
 * | `timeout a 12` · `tick a b 3` · `campaign a` | next election timeout (10 to 19); ticks; ticks until `a` stands |
 * | `propose a x y` · `read a 7` · `transfer a b` | proposes values; reads with a context; transfers leadership |
 * | `change a voter=d learner=e removed=b,c` | changes the membership |
 * | `deliver a>b append n=1 last` | delivers by link (`a>b`, `a>`, `>b`, `all`), type, number, last first |
 * | `drop` · `duplicate` · `hold` | take the same words; `hold` keeps messages back until `release` |
 * | `tear a>b` | damages snapshot pieces under way |
 * | `cut a>b` · `cut a` · `heal` | makes links lose everything; repairs them |
 * | `stabilize` · `stabilize a b` | delivers (between these nodes) until nothing is under way |
 * | `byhand a disk machine store` · `auto a` | lets the script say when a part has completed its work; ends that |
 * | `flush a n=1` · `finish a apply` | completes writes; completes `apply`, `read`, `store`, `install` or `refuse` |
 * | `crash a` · `restart a` | loses power; starts from the durable state |
 * | `snapshot a` · `compact a 5` | takes a snapshot of the applied entries; compacts the log up to that entry |
 * | `status` · `log a` · `state a` · `network` | shows the state |
 *
 * A line that begins with `+` is a message that was sent; `>` marks one that arrives. `quiet` after a command shows
 * only changes of role.
 */
export class GoldenEnv {
  readonly nodes = new Map<string, GoldenNode>()
  private network = new GoldenNetwork()
  private members: { voters: string[]; learners: string[] } = { voters: [], learners: [] }
  private limits = LIMITS
  private pieceBytes = 4
  private lines: string[] = []
  private showSent = true

  /** Returns the lines of output. */
  run(command: Command): string[] {
    this.lines = []
    const isQuiet = command.words.at(-1) === 'quiet'
    const words = isQuiet ? command.words.slice(0, -1) : command.words
    this.perform({ ...command, words })
    return isQuiet ? this.lines.filter((line) => /^\w+ (leader|stops)/.test(line)) : this.lines
  }

  private node(id: string): GoldenNode {
    const node = this.nodes.get(id)
    if (node === undefined) throw new CommandError(`there is no node ${id}`)
    return node
  }

  private perform(command: Command): void {
    const { name, words } = command
    const [id = ''] = words
    switch (name) {
      case 'cluster':
        return this.cluster(command)
      case 'node':
        return this.startNode(command)
      case 'join':
        return this.start(id, new HandStorage([], { term: 0, vote: undefined, commit: 0 }))
      case 'timeout':
        this.node(id).timeout = Number(words[1])
        return
      case 'tick':
        return this.tick(words)
      case 'campaign':
        return this.campaign(id)
      case 'propose':
        return this.node(id).run((core) => this.propose(id, core, words.slice(1)))
      case 'read':
        return this.node(id).run((core) => {
          if (!core.readIndex(Number(words[1]))) this.emit(`${id} refuses: notLeader`)
        })
      case 'transfer':
        return this.node(id).run((core) => {
          const refused = core.transferLeadership(words[1]!)
          if (refused !== undefined) this.emit(`${id} refuses: ${refused}`)
        })
      case 'change':
        return this.change(command)
      case 'deliver':
        return this.network.take(selectorOf(command)).forEach((packet) => this.deliver(packet))
      case 'drop':
        return this.list('lost', this.network.take(selectorOf(command)))
      case 'duplicate':
        return this.list('doubled', this.network.duplicate(selectorOf(command)))
      case 'hold':
        return this.list('held', this.network.hold(selectorOf(command)))
      case 'release':
        return this.list('released', this.network.release())
      case 'tear':
        return this.tear(command)
      case 'cut':
        return this.network.cut(id, [...this.nodes.keys()])
      case 'heal':
        return this.network.heal()
      case 'stabilize':
        return this.stabilize(words)
      case 'byhand':
        return words.slice(1).forEach((part) => this.node(id).byHand.add(part as Part))
      case 'auto':
        return this.node(id).auto()
      case 'flush':
        return this.node(id).flush(Number(command.options.get('n') ?? Infinity))
      case 'finish':
        return this.node(id).finish(words[1]!)
      case 'crash':
        return this.node(id).crash()
      case 'restart':
        return this.node(id).start()
      case 'snapshot':
        return this.node(id).takeSnapshot()
      case 'compact':
        return this.node(id).storage.compact(Number(words[1]))
      case 'status':
        return this.namesOr(words).forEach((each) => this.emit(`${each} ${this.node(each).status()}`))
      case 'log':
        return words.forEach((each) => this.showLog(each))
      case 'state':
        return this.namesOr(words).forEach((each) => this.emit(`${each} ${this.node(each).state()}`))
      case 'network':
        this.lines.push(...this.network.list())
        return
      default:
        throw new CommandError('there is no such command')
    }
  }

  private emit(line: string): void {
    this.lines.push(line)
  }

  private namesOr(words: readonly string[]): readonly string[] {
    return words.length > 0 ? words : [...this.nodes.keys()]
  }

  private cluster({ words, options }: Command): void {
    const learners = listOf(options.get('learners'))
    this.nodes.clear()
    this.network = new GoldenNetwork()
    this.limits = LIMITS
    this.pieceBytes = 4
    this.members = { voters: [...words], learners }
    for (const [name, value] of options) {
      if (name === 'pieceBytes') this.pieceBytes = Number(value)
      else if (name in LIMITS) this.limits = { ...this.limits, [name]: Number(value) }
      else if (name !== 'learners') throw new CommandError(`there is no option ${name}`)
    }
    for (const id of [...words, ...learners]) {
      this.start(id, new HandStorage([firstConfiguration(this.members)], { term: 1, vote: undefined, commit: 1 }), 1)
    }
  }

  private startNode({ words, options }: Command): void {
    const terms = listOf(options.get('log') ?? '1').map(Number)
    const log = terms.map((term, i) =>
      i === 0 ? firstConfiguration(this.members, term) : entry(i + 1, term, `v${i + 1}`)
    )
    const term = Number(options.get('term') ?? terms.at(-1))
    const commit = Number(options.get('commit') ?? 1)
    this.start(words[0]!, new HandStorage(log, { term, vote: options.get('vote'), commit }), 1)
  }

  private start(id: string, storage: HandStorage, applied = 0): void {
    const emit = (line: string): void => this.emit(line)
    const send = (to: string, message: Packet['message']): void => {
      const isSent = this.network.send({ from: id, to, message })
      if (this.showSent) this.emit(`+ ${id}>${to} ${formatMessage(message)}${isSent ? '' : ' (cut)'}`)
    }
    const node = new GoldenNode({ id, limits: this.limits, pieceBytes: this.pieceBytes, emit, send }, storage)
    this.nodes.set(id, node)
    node.start(applied)
  }

  private tick(words: readonly string[]): void {
    const count = Number(words.at(-1))
    for (const id of words.slice(0, -1)) {
      for (let i = 0; i < count; i++) this.node(id).run((core) => core.tick())
    }
  }

  private campaign(id: string): void {
    const node = this.node(id)
    const before = this.lines.length
    for (let i = 0; i < 2 * ELECTION_TICKS && this.lines.length === before; i++) node.run((core) => core.tick())
  }

  private propose(id: string, core: RaftCore, values: readonly string[]): void {
    const proposed = core.propose(values.map((value) => fromString(value)))
    if ('refused' in proposed) this.emit(`${id} refuses: ${refusalOf(proposed)}`)
    else this.emit(`${id} takes ${proposed.index}/${proposed.term}`)
  }

  private change({ words, options }: Command): void {
    const [id = ''] = words
    const changes = [...options].flatMap(([type, ids]) =>
      listOf(ids).map((each) => ({ type: type as MembershipChange['type'], id: each }))
    )
    this.node(id).run((core) => {
      const proposed = core.changeMembership(changes)
      if (!('refused' in proposed)) this.emit(`${id} takes ${proposed.index}/${proposed.term}`)
      else if (proposed.refused === 'pending') this.emit(`${id} refuses: pending, wait for ${proposed.index}`)
      else if (proposed.refused === 'invalid') this.emit(`${id} refuses: ${proposed.reason}`)
      else this.emit(`${id} refuses: ${refusalOf(proposed)}`)
    })
  }

  private deliver(packet: Packet): void {
    const node = this.nodes.get(packet.to)
    const isUp = node?.core !== undefined
    if (isUp || this.showSent) this.emit(`> ${formatPacket(packet)}${isUp ? '' : ' (down)'}`)
    if (isUp) node.receive(packet.from, packet.message)
  }

  private stabilize(words: readonly string[]): void {
    const between = this.namesOr(words)
    this.showSent = false
    for (let i = 0; ; i++) {
      const packet = this.network.takeFirst(between)
      if (packet === undefined) break
      this.deliver(packet)
      if (i > MAX_DELIVERIES) throw new Error('it does not come to rest')
    }
    this.showSent = true
  }

  private list(what: string, packets: readonly Packet[]): void {
    for (const packet of packets) this.emit(`${what} ${formatPacket(packet)}`)
  }

  private tear(command: Command): void {
    for (const { from, to, message } of this.network.take({ ...selectorOf(command), type: 'snapshot' })) {
      if (message.type !== 'snapshot') continue
      const data = message.data.map((byte, i) => (i === 0 ? byte ^ 1 : byte))
      this.network.send({ from, to, message: { ...message, data } })
      this.emit(`torn ${formatPacket({ from, to, message })}`)
    }
  }

  private showLog(id: string): void {
    const { storage } = this.node(id)
    const base = storage.firstIndex - 1
    const after = base === 0 ? '' : `after ${base}/${storage.term(base)} `
    this.emit(`${id} ${after}${formatEntries(storage.stored)}`)
  }
}

function listOf(text: string | undefined): string[] {
  return text === undefined || text === '' ? [] : text.split(',')
}

function selectorOf({ words, options }: Command): Selector {
  const [link = 'all', ...rest] = words
  const [from, to] = link === 'all' ? [] : link.split('>', 2)
  const last = rest.includes('last')
  const type = rest.find((word) => word !== 'last')
  return { from: from || undefined, to: to || undefined, type, last, count: Number(options.get('n') ?? Infinity) }
}

function refusalOf(refusal: Refusal): string {
  switch (refusal.refused) {
    case 'notLeader':
      return refusal.leader === undefined ? 'notLeader' : `notLeader, ${refusal.leader} is`
    case 'full':
      return `full, ${refusal.uncommittedBytes} bytes`
    case 'transferring':
      return `transferring to ${refusal.to}`
  }
}
