/** A cluster of three etcd members on loopback, as a rival. It writes through etcd's JSON gateway. */
import { freePorts } from '@quire/cli/internal'
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

interface Member {
  readonly name: string
  readonly client: string
  readonly peer: string
  process: ChildProcess
}

const ASK_EVERY_MS = 20

export function hasEtcd(): boolean {
  return spawnSync('etcd', ['--version']).status === 0
}

/** Runs three members with etcd's default settings, each with its data in `folder`. */
export class EtcdCluster {
  private constructor(
    private readonly folder: string,
    private readonly members: readonly Member[]
  ) {}

  static async start(folder: string): Promise<EtcdCluster> {
    const ports = await freePorts(6)
    const places = [0, 1, 2].map((i) => ({
      name: `m${i}`,
      client: `http://127.0.0.1:${ports[2 * i]}`,
      peer: `http://127.0.0.1:${ports[2 * i + 1]}`
    }))
    const initial = places.map(({ name, peer }) => `${name}=${peer}`).join(',')
    const members = places.map((place) => ({ ...place, process: run(folder, place, initial) }))
    const cluster = new EtcdCluster(folder, members)
    // However this process ends, short of SIGKILL.
    process.on('exit', () => members.forEach(({ process: child }) => child.kill('SIGKILL')))
    await cluster.put('0')
    return cluster
  }

  /** Kills the leader with SIGKILL. Resolves with a function that starts it again. */
  async stopLeader(): Promise<() => Promise<void>> {
    const leader = await this.findLeader()
    leader.process.kill('SIGKILL')
    return async () => {
      await ended(leader.process)
      const initial = this.members.map(({ name, peer }) => `${name}=${peer}`).join(',')
      leader.process = run(this.folder, leader, initial)
      while ((await statusOf(leader)) === undefined) await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  /**
   * Asks all members again and again, every few milliseconds, without waiting for earlier answers: a member that has
   * lost its leader holds a request for seconds before it fails. Resolves when one has stored the value durably.
   */
  async put(value: string): Promise<void> {
    const over = new AbortController()
    const body = { key: btoa('key'), value: btoa(value) }
    await new Promise<void>((resolve) => {
      const ask = (): void => {
        for (const { client } of this.members) {
          const signal = AbortSignal.any([over.signal, AbortSignal.timeout(5_000)])
          post(`${client}/v3/kv/put`, body, signal).then(
            () => resolve(),
            () => {}
          )
        }
      }
      ask()
      const timer = setInterval(ask, ASK_EVERY_MS)
      over.signal.addEventListener('abort', () => clearInterval(timer))
    }).finally(() => over.abort())
  }

  /** The address at which the leader serves clients. */
  async leaderUrl(): Promise<string> {
    return (await this.findLeader()).client
  }

  async close(): Promise<void> {
    for (const { process: child } of this.members) {
      child.kill('SIGKILL')
      await ended(child)
    }
  }

  private async findLeader(): Promise<Member> {
    for (;;) {
      for (const member of this.members) {
        const status = await statusOf(member)
        if (status !== undefined && status.leader === status.header.member_id) return member
      }
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

/** Resolves when the process has ended, also if it did so before. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

interface EtcdStatus {
  readonly header: { readonly member_id: string }
  readonly leader?: string
}

function run(folder: string, { name, client, peer }: Omit<Member, 'process'>, initial: string): ChildProcess {
  const urls = ['--listen-client-urls', client, '--advertise-client-urls', client]
  const peers = ['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer]
  const cluster = ['--initial-cluster', initial, '--initial-cluster-token', 'bench']
  const own = ['--name', name, '--data-dir', join(folder, name)]
  return spawn('etcd', [...own, ...urls, ...peers, ...cluster], { stdio: 'ignore' })
}

async function statusOf({ client }: Member): Promise<EtcdStatus | undefined> {
  return post(`${client}/v3/maintenance/status`, {}, AbortSignal.timeout(1_000)).then(
    (answer) => answer as EtcdStatus,
    () => undefined
  )
}

async function post(url: string, body: object, signal: AbortSignal): Promise<unknown> {
  const answer = await fetch(url, { method: 'POST', body: JSON.stringify(body), signal })
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`)
  return answer.json()
}
