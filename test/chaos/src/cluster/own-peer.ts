/** A peer of the run's own cluster: its key, its data directory, and one process after the other. */
import { generatePrivateKey, peerIdFromKey, savePrivateKey } from '@quire/net'
import type { Member } from '@quire/protocol'
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Child } from '../machines/child.js'
import type { Machine } from '../machines/machine.js'
import type { Killable, Stoppable } from './peer.js'
import { quire } from './quire.js'

/** Peers keep no log for others, so one that is behind needs a snapshot. */
const PEER_OPTIONS = ['--retained-log', '0', '--scrub-interval', '10s', '--exit-with-stdin', '--json']
/** A start reads the log and the pages, on a busy machine. */
const START_MS = 60_000

export interface PeerInit {
  readonly name: string
  readonly machine: Machine
  readonly port: number
  /** The folder of its files. */
  readonly folder: string
}

export interface StartOptions {
  /** More arguments of `quire peer`. */
  readonly args?: readonly string[]
  /** Does not wait until the peer listens: a peer that joins waits to be let in. */
  readonly isPatient?: boolean
}

/** What a run puts between a peer and the system, in its next process: the environment, also of a preloaded library. */
export type Interposed = Readonly<Record<string, string>> & { readonly LD_PRELOAD?: string }

export class OwnPeer implements Killable, Stoppable {
  readonly name: string
  readonly machine: Machine
  /** Standard error of all its processes. */
  readonly log: string
  /** By name. They count from the next start on. */
  readonly interposed = new Map<string, Interposed>()
  /** Called before each start, while no process uses the data directory. */
  readonly beforeStart: (() => void)[] = []
  /** What the run remembers about the data directory, and forgets with it. */
  readonly notes: string[] = []
  /** A fault has damaged its files. It stays so, also with other files. */
  isRotten = false
  private child: Child | undefined
  private listens: Promise<boolean> = Promise.resolve(false)

  private constructor(
    private readonly init: PeerInit,
    readonly peerId: string
  ) {
    this.name = init.name
    this.machine = init.machine
    this.log = join(init.folder, 'peer.log')
  }

  static async make(init: PeerInit): Promise<OwnPeer> {
    mkdirSync(init.folder, { recursive: true })
    const key = await generatePrivateKey()
    await savePrivateKey(join(init.folder, 'key'), key)
    return new OwnPeer(init, peerIdFromKey(key))
  }

  /** The folder for what a run has to remember about this peer. */
  get folder(): string {
    return this.init.folder
  }

  /** Has the data directory. It may be a file system of its own. */
  get disk(): string {
    return join(this.init.folder, 'disk')
  }

  get dataDir(): string {
    return join(this.disk, 'data')
  }

  get listen(): string {
    return `/ip4/${this.machine.address}/tcp/${this.init.port}`
  }

  get multiaddr(): string {
    return `${this.listen}/p2p/${this.peerId}`
  }

  get member(): Member {
    return { peerId: this.peerId, addresses: [this.listen] }
  }

  get isUp(): boolean {
    return this.child !== undefined && !this.child.hasEnded
  }

  /** The name of the data directory for `--rejoin`. */
  get directory(): string {
    const text = readFileSync(join(this.dataDir, 'identity.json'), 'utf8')
    const { joined, incarnation } = JSON.parse(text) as { readonly joined: boolean; readonly incarnation: string }
    return joined ? incarnation : 'founder'
  }

  /** Resolves when the peer listens. Rejects if it ends before that. */
  async start({ args = [], isPatient = false }: StartOptions = {}): Promise<void> {
    if (this.isUp) throw new Error(`${this.name} runs already`)
    mkdirSync(this.disk, { recursive: true })
    for (const prepare of this.beforeStart) prepare()
    const own = ['--data-dir', this.dataDir, '--key', join(this.init.folder, 'key'), '--listen', this.listen]
    let heard = (): void => {}
    const listens = new Promise<boolean>((resolve) => {
      heard = () => resolve(true)
    })
    const child = new Child({
      machine: this.machine,
      command: quire('peer', ...own, ...PEER_OPTIONS, ...args),
      env: this.environment,
      log: this.log,
      onLine: () => heard()
    })
    this.child = child
    this.listens = Promise.race([listens, child.ended().then(() => false)])
    if (!isPatient) await this.listening()
  }

  /** Resolves when the peer listens. Rejects if it ends before that, or takes too long. */
  async listening(): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${this.name} does not listen after ${START_MS} ms`)), START_MS)
    })
    const listens = await Promise.race([this.listens, late]).finally(() => clearTimeout(timer))
    if (!listens) throw new Error(`${this.name} ended with ${this.child!.end}: ${lastLine(this.log)}`)
  }

  private get environment(): Record<string, string> {
    const all = [...this.interposed.values()]
    const libraries = all.flatMap(({ LD_PRELOAD }) => LD_PRELOAD ?? [])
    const preload = libraries.length === 0 ? {} : { LD_PRELOAD: libraries.join(':') }
    return Object.assign({}, ...all, preload) as Record<string, string>
  }

  /** Ends the process without notice. */
  async kill(): Promise<void> {
    await this.child?.finish('SIGKILL')
  }

  /** The disk is lost, and an empty one takes its place. The process must have ended. */
  wipe(): void {
    for (const folder of [this.dataDir, ...this.notes])
      for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true })
  }

  /** Ends the process as an operator does. */
  async stop(): Promise<void> {
    await this.resume()
    await this.child?.finish('SIGTERM')
  }

  /** Stops the process in its tracks, until `resume`. */
  pause(): Promise<void> {
    this.child?.pause()
    return Promise.resolve()
  }

  resume(): Promise<void> {
    this.child?.resume()
    return Promise.resolve()
  }
}

function lastLine(file: string): string {
  return readFileSync(file, 'utf8').trim().split('\n').at(-1) ?? ''
}
