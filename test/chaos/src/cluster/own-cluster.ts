/** A cluster of the run's own: three voters at first, and the changes of members that an operator makes. */
import { freePorts } from '@quire/cli/internal'
import { generatePrivateKey, peerIdFromKey } from '@quire/net'
import { formatClusterFile } from '@quire/store/internal/cli'
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { command } from '../machines/command.js'
import type { Lines, Machines } from '../machines/machine.js'
import type { Cluster } from './cluster.js'
import { Operator } from './operator.js'
import { OwnPeer } from './own-peer.js'
import { complaintsIn, loggedIn, type Counted, type PeerLog } from './peer-logs.js'
import { quire } from './quire.js'
import { until } from './until.js'

export interface ClusterInit {
  readonly machines: Machines
  readonly folder: string
  readonly voters: number
  /** Prepares each peer before its first start. */
  readonly prepare: (peer: OwnPeer) => Promise<void>
  /** Undoes `prepare`, after its last process. */
  readonly release: (peer: OwnPeer) => Promise<void>
}

/** A voter that has lost its disk needs a snapshot, which takes its time beside the workloads. */
const CHANGE_MS = 180_000
const PORT = 4001
/** A part of what a log keeps. */
const FILLER_BYTES = 8 * 1024 * 1024

export class OwnCluster implements Cluster<OwnPeer> {
  /** The peers that belong to the cluster. */
  readonly members: OwnPeer[] = []
  private readonly all: OwnPeer[] = []
  private operatorOrNone: Operator<OwnPeer> | undefined

  private constructor(private readonly init: ClusterInit) {}

  static async start(init: ClusterInit): Promise<OwnCluster> {
    const cluster = new OwnCluster(init)
    try {
      await cluster.found()
      return cluster
    } catch (error) {
      await cluster[Symbol.asyncDispose]()
      throw error
    }
  }

  get operator(): Operator<OwnPeer> {
    return this.operatorOrNone!
  }

  get killable(): readonly OwnPeer[] {
    return this.members
  }

  get stoppable(): readonly OwnPeer[] {
    return this.members
  }

  /** The lines between all machines. Undefined where this process may not make networks. */
  get lines(): Lines | undefined {
    return this.init.machines.lines
  }

  get addresses(): string[] {
    return this.members.map(({ multiaddr }) => multiaddr)
  }

  /** Mends the lines, resumes the members, and starts those that have ended. */
  async heal(): Promise<void> {
    await this.lines?.mend()
    for (const peer of this.members) await peer.resume()
    await Promise.all(this.members.filter(({ isUp }) => !isUp).map((peer) => peer.start()))
  }

  /** A further peer joins and becomes a voter. */
  async grow(): Promise<void> {
    const added = await this.makePeer()
    await this.operator.insist({ type: 'addMember', member: added.member }, CHANGE_MS)
    await this.startNew(added)
    await this.operator.insist({ type: 'promoteMember', id: added.peerId }, CHANGE_MS)
  }

  /** A voter leaves the cluster, and its machine is switched off. */
  async shrink(peer: OwnPeer): Promise<void> {
    await this.operator.insist({ type: 'removeMember', id: peer.peerId }, CHANGE_MS)
    await this.forget(peer)
  }

  /** A voter is lost with its key and its disk, and a new peer takes its place. */
  async replace(peer: OwnPeer): Promise<void> {
    await this.forget(peer)
    const added = await this.makePeer()
    await this.operator.insist({ type: 'replaceMember', id: peer.peerId, by: added.member }, CHANGE_MS)
    await this.startNew(added)
    await this.votes(added)
  }

  /** A voter loses its disk, keeps its key, and takes its own place again. */
  async wipe(peer: OwnPeer): Promise<void> {
    await peer.kill()
    const { directory } = peer
    peer.wipe()
    const others = this.members.filter((each) => each !== peer).map(({ multiaddr }) => multiaddr)
    await peer.start({ args: ['--join', others.join(','), '--rejoin', directory] })
    await this.votes(peer)
  }

  /** Stops every peer and starts it again, one after the other. */
  async roll(): Promise<void> {
    for (const peer of [...this.members]) {
      await peer.stop()
      await peer.start()
      await this.operator.healthy(CHANGE_MS)
    }
  }

  /** Stores a file that no client touches. */
  async fill(): Promise<void> {
    const file = join(this.init.folder, 'filler')
    writeFileSync(file, Buffer.alloc(FILLER_BYTES, 1))
    const put = quire('put', file, '/filler', '--peers', this.addresses.join(','))
    let failure = ''
    const isStored = (): Promise<boolean> =>
      command(put).then(
        () => true,
        (error: unknown) => {
          failure = (error as Error).message
          return false
        }
      )
    await until(isStored, () => `a file to be stored: ${failure}`, CHANGE_MS)
  }

  /** Writes until the leader's log has dropped every entry that it has now. */
  async outgrowLog(): Promise<void> {
    let last: number | undefined
    const isOutgrown = async (): Promise<boolean> => {
      const log = await this.operator.log()
      last ??= log?.last
      if (log !== undefined && log.first > last!) return true
      await this.fill()
      return false
    }
    await until(isOutgrown, () => "the leader's log to drop its entries", CHANGE_MS)
  }

  logged(): Counted[] {
    return loggedIn(this.logs)
  }

  complaints(): Counted[] {
    return complaintsIn(this.logs)
  }

  /** Of each peer that ever belonged to the cluster. */
  private get logs(): PeerLog[] {
    return this.all.map(({ log, isRotten }) => ({ text: readFileSync(log, 'utf8'), isRotten }))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.operatorOrNone?.[Symbol.asyncDispose]()
    await Promise.all(this.all.map((peer) => peer.kill()))
    if (this.complaints().length > 0) this.all.forEach(keepPages)
    for (const peer of this.all) await this.init.release(peer)
  }

  private async found(): Promise<void> {
    const { folder, voters } = this.init
    mkdirSync(folder, { recursive: true })
    for (let i = 0; i < voters; i++) this.members.push(await this.makePeer())
    const admin = await generatePrivateKey()
    const file = join(folder, 'cluster.json')
    const config = {
      clusterId: 'chaos',
      voters: this.members.map(({ member }) => member),
      admins: [peerIdFromKey(admin)],
      clients: 'any'
    } as const
    writeFileSync(file, formatClusterFile(config))
    this.operatorOrNone = await Operator.start(admin, () => this.members)
    await Promise.all(this.members.map((peer) => peer.start({ args: ['--cluster', file] })))
    await this.operator.healthy()
  }

  /** Resolves when the peer votes with its present directory. */
  private async votes(peer: OwnPeer): Promise<void> {
    const isVoter = async (): Promise<boolean> => {
      const id = `${peer.peerId}/${peer.directory}`
      const { members } = await this.operator.roster()
      return members.some((member) => member.id === id && member.role === 'voter')
    }
    await until(
      () => isVoter().catch(() => false),
      () => `${peer.name} to vote`,
      CHANGE_MS
    )
  }

  private async makePeer(): Promise<OwnPeer> {
    const { machines, folder } = this.init
    const name = `peer${this.all.length + 1}`
    const machine = await machines.add(name)
    const port = machines.lines === undefined ? (await freePorts(1))[0]! : PORT
    const peer = await OwnPeer.make({ name, machine, port, folder: join(folder, name) })
    this.all.push(peer)
    await this.init.prepare(peer)
    return peer
  }

  private async startNew(peer: OwnPeer): Promise<void> {
    await peer.start({ args: ['--join', this.addresses.join(',')], isPatient: true })
    this.members.push(peer)
    await peer.listening()
  }

  private async forget(peer: OwnPeer): Promise<void> {
    await peer.kill()
    this.members.splice(this.members.indexOf(peer), 1)
  }
}

/** Copies the pages of a peer beside its log, because its disk may end with the run. */
function keepPages({ dataDir, folder }: OwnPeer): void {
  const pages = join(dataDir, 'pages')
  if (existsSync(pages)) cpSync(pages, join(folder, 'pages'), { recursive: true })
}
