/** A user's cluster, as a file describes it. */
import { loadPrivateKey } from '@quire/net'
import { resolve } from 'node:path'
import type { Cluster } from './cluster.js'
import type { GivenFile } from './given-file.js'
import { GivenPeer } from './given-peer.js'
import { Operator } from './operator.js'
import { HaltError } from '../halt.js'
import type { Killable, Stoppable } from './peer.js'
import { Shell } from './shell.js'

export class GivenCluster implements Cluster {
  readonly killable: readonly Killable[]
  readonly stoppable: readonly Stoppable[]

  private constructor(
    readonly members: readonly GivenPeer[],
    readonly operator: Operator
  ) {
    this.killable = members.filter(({ canBeKilled }) => canBeKilled)
    this.stoppable = members.filter(({ canBeStopped }) => canBeStopped)
  }

  /**
   * Resolves when the cluster is healthy. Rejects with a HaltError if it is not within a minute. The commands, and what
   * they print, go into `log`.
   */
  static async open({ peers, adminKey, folder }: GivenFile, log: string): Promise<GivenCluster> {
    const members: GivenPeer[] = []
    const key = adminKey === undefined ? undefined : await loadPrivateKey(resolve(folder, adminKey))
    const operator = await Operator.start(key, () => members)
    const shell = new Shell(folder, log)
    for (const peer of peers) members.push(new GivenPeer(peer, shell, operator))
    const cluster = new GivenCluster(members, operator)
    try {
      await operator.healthy()
      return cluster
    } catch (error) {
      const answering = await operator.statuses()
      const silent = members.filter((peer) => !answering.has(peer)).map(({ name }) => name)
      await cluster[Symbol.asyncDispose]()
      const who = silent.length === 0 ? '' : `; no answer from ${silent.join(', ')}`
      throw new HaltError(`${(error as Error).message}${who}`, { cause: error })
    }
  }

  get addresses(): readonly string[] {
    return this.members.flatMap(({ member }) => member.addresses)
  }

  async heal(): Promise<void> {
    await Promise.all(this.members.map((peer) => peer.heal()))
  }

  /** The run does nothing more to the cluster, and ends what it has done. */
  async end(): Promise<void> {
    await Promise.all(this.members.map((peer) => peer.end()))
  }

  logged(): [] {
    return []
  }

  complaints(): [] {
    return []
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.operator[Symbol.asyncDispose]()
  }
}
