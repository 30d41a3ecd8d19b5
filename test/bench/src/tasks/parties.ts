/** What a worker is connected to. */
import { createDsmClient, type DsmClient, type DsmClientInit } from '@quire/dsm-client'
import { connectBare, type Bare } from '../rivals/bare.js'
import { connectEtcd, type EtcdStore } from '../rivals/etcd-client.js'
import { connectRedis, type Redis } from '../rivals/redis.js'

export interface Addresses {
  readonly peers: readonly string[]
  readonly bare: string
  /** Undefined where it is not installed. */
  readonly redis: string | undefined
  readonly etcd: string | undefined
}

export interface Parties {
  readonly client: DsmClient
  readonly bare: Bare
  readonly redis: Redis | undefined
  readonly etcd: EtcdStore | undefined
  /** Makes another client, which has no page yet. */
  readonly newClient: (init?: Partial<DsmClientInit>) => Promise<DsmClient>
}

export async function connectAll({ peers, bare, redis, etcd }: Addresses): Promise<Parties> {
  const newClient = (init: Partial<DsmClientInit> = {}) => createDsmClient({ peers, ...init })
  return {
    client: await newClient(),
    bare: await connectBare(bare),
    redis: redis === undefined ? undefined : await connectRedis(redis),
    etcd: etcd === undefined ? undefined : connectEtcd(etcd),
    newClient
  }
}

export const PAGE_BYTES = 4096

/** Bytes that are not all zeros: pages of zeros do not travel. */
export function filled(length: number, value: number): Uint8Array {
  return new Uint8Array(length).map((_, at) => ((at * 31 + value) % 255) + 1)
}

/** Leaves contenders out whose rival is not installed. */
export function present<T>(contenders: Readonly<Record<string, T | undefined | false>>): Record<string, T> {
  return Object.fromEntries(
    Object.entries(contenders).filter(([, run]) => run !== undefined && run !== false)
  ) as Record<string, T>
}
