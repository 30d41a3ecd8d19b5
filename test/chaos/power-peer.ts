/** A peer of its own cluster on a machine that loses its power, and a program that counts up on its pages. */
import { once } from 'node:events'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { freePorts } from '@quire/cli/internal'
import { createDsmClient, type DsmClient } from '@quire/dsm-client'
import { expect } from 'vitest'
import { INIT, keygen, quire, startQuire, testFolder, type Running } from '../../packages/cli/test/support/quire.js'
import { until } from '../e2e/support/cluster.js'
import type { Change } from '#mutants/mutant'
import type { Lose } from './src/power/loss.js'
import { BRISK } from './src/power/broken-builds.js'
import { patched } from './dist/power/patched.js'
import type { PowerShim } from './src/power/shim.js'
import { Machine } from './power-support.js'

const PAGE = 4096
const PAGES = 32
const WAIT_MS = 30_000

export class PowerPeer {
  private running: Running | undefined

  private constructor(
    readonly machine: Machine,
    private readonly args: readonly string[],
    private readonly address: string,
    private readonly changes: readonly Change[]
  ) {}

  /** Founds a cluster of one peer, which runs with `changes`. */
  static async found(shim: PowerShim, changes: readonly Change[] = []): Promise<PowerPeer> {
    const machine = new Machine(shim)
    const folder = testFolder()
    const [key, cluster] = [join(folder, 'key'), join(folder, 'cluster.json')]
    const id = await keygen(key)
    const listen = `/ip4/127.0.0.1/tcp/${(await freePorts(1))[0]}`
    await quire([...INIT, '--out', cluster, '--clients', 'any', '--voters', `${listen}/p2p/${id}`])
    const files = ['--data-dir', machine.root, '--key', key, '--cluster', cluster]
    const args = ['peer', ...files, '--listen', listen, '--retained-log', '0']
    return new PowerPeer(machine, args, `${listen}/p2p/${id}`, [...BRISK, ...changes])
  }

  /** Resolves with the reason if the peer refuses to start, and with undefined when it listens. */
  async start(): Promise<string | undefined> {
    const running = this.spawn()
    await until(() => this.isSettled(running), 'a peer to start')
    return this.isListening(running) ? undefined : `${running.child.signalCode ?? ''} ${running.stderr}`
  }

  /** Starts the peer, and kills it when its journal has so many bytes, or when it listens. */
  async startUntilJournal(bytes: number): Promise<void> {
    const { journal } = this.machine.folders
    const running = this.spawn()
    const written = (): number =>
      readdirSync(journal).reduce((sum, name) => sum + statSync(join(journal, name)).size, 0)
    // The steps of a start are milliseconds apart.
    const isDue = (): boolean => written() >= bytes || this.isSettled(running)
    await expect.poll(isDue, { interval: 1, timeout: WAIT_MS }).toBe(true)
    await this.kill()
  }

  async kill(): Promise<void> {
    const child = this.running?.child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }

  client(): Promise<DsmClient> {
    return createDsmClient({ peers: this.address, faultTimeoutMs: WAIT_MS, sessionTtlMs: 1000 })
  }

  /** The numbers of the segments of its log. */
  get segments(): number[] {
    const names = readdirSync(join(this.machine.root, 'log')).filter((name) => name.endsWith('.log'))
    return names.map((name) => Number.parseInt(name, 16)).sort((a, b) => a - b)
  }

  private spawn(): Running {
    this.running = startQuire(this.args, { env: { ...this.machine.environment, ...patched(this.changes) } })
    return this.running
  }

  private isSettled(running: Running): boolean {
    return running.child.exitCode !== null || running.child.signalCode !== null || this.isListening(running)
  }

  private isListening({ stdout }: Running): boolean {
    return stdout.includes(this.address)
  }
}

/** How `firstHarm` tells that something acknowledged is lost. */
export const LOSS = /damaged|was acknowledged|is torn|no such file/

/**
 * Lets the peer lose power again and again in the middle of writes, once for each seed. Resolves with the first harm:
 * why the peer refuses to start, or which acknowledged write it lost. Undefined if there is none.
 */
export async function firstHarm(peer: PowerPeer, lose: Lose, seeds: readonly number[]): Promise<string | undefined> {
  const counts = new Counts()
  let harm = await peer.start()
  for (const seed of seeds) {
    if (harm !== undefined) return harm
    const [first] = peer.segments
    await counts.count(peer, async () => {
      const { total } = counts
      await until(() => counts.total > total + 100 && peer.segments[0]! > first!, 'the log to drop a segment')
      // Dropping a segment flushes the names of the log. The next segment has its own flush.
      const last = peer.segments.at(-1)!
      await until(() => peer.segments.at(-1)! > last, 'the log to begin a segment')
    })
    peer.machine.lose(lose, seed)
    harm = (await peer.start()) ?? (await counts.judge(peer))
  }
  return harm
}

/** Counts up on each page of a file, and flushes each count. */
class Counts {
  /** The last count of each page that a flush has acknowledged. */
  private readonly acknowledged = Array.from({ length: PAGES }, () => 0)

  get total(): number {
    return this.acknowledged.reduce((sum, count) => sum + count, 0)
  }

  /** Counts until `enough` resolves, then kills the peer in the middle of it. */
  async count(peer: PowerPeer, enough: () => Promise<void>): Promise<void> {
    const client = await peer.client()
    const file = await client.open('/counts', { create: true, size: PAGES * PAGE })
    const mapping = await file.mmap()
    let ended = false
    const count = async (page: number): Promise<void> => {
      for (let value = this.acknowledged[page]! + 1; !ended; value++) {
        await mapping.write(page * PAGE, new Uint8Array(new Uint32Array(PAGE / 4).fill(value).buffer))
        await mapping.msync(page * PAGE, PAGE)
        if (!ended) this.acknowledged[page] = value
      }
    }
    const counting = Promise.allSettled(this.acknowledged.map((_, page) => count(page)))
    await enough()
    await peer.kill()
    ended = true
    // Without a peer, the client cannot end its session. The next peer ends it when its lease runs out.
    await client.close({ signal: AbortSignal.timeout(10) }).catch(() => {})
    await counting
  }

  /** Returns what is wrong with the pages; undefined if every acknowledged count is there. */
  async judge(peer: PowerPeer): Promise<string | undefined> {
    const client = await peer.client()
    try {
      const mapping = await (await client.open('/counts')).mmap({ prot: 'read' })
      for (const [page, acknowledged] of this.acknowledged.entries()) {
        const words = new Uint32Array((await mapping.read(page * PAGE, PAGE)).slice().buffer)
        const [value = 0] = words
        if (words.some((word) => word !== value)) return `page ${page} is torn`
        if (value < acknowledged) return `page ${page} has ${value}, and ${acknowledged} was acknowledged`
        this.acknowledged[page] = value
      }
      return undefined
    } catch (error) {
      return String(error)
    } finally {
      await client.close({ signal: AbortSignal.timeout(5000) }).catch(() => {})
    }
  }
}
