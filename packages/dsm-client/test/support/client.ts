/** A client on a fake network, in virtual time, with scripted peers. */
import { createDsmClientOn } from '../../src/index.js'
import { inspectClient, type ClientView } from '../../src/internal.js'
import type { DsmClient, DsmClientInit } from '../../src/types.js'
import { FakeCluster, FakePeer, PEERS, addressOf } from './leader.js'
import { FakeClock, FakeNet, settle } from '@quire/testing'

export const SELF = '12D3KooWAHfjRmR6xkg1NLrbR62Kqw288UgVRztz71GrbJvJGwAB'

export class World {
  readonly clock = new FakeClock(1000)
  readonly net = new FakeNet(this.clock)
  readonly cluster = new FakeCluster()
  readonly peers = PEERS.map((id) => new FakePeer(this.net, this.cluster, id))
  /** The first leader; a test may elect another. */
  readonly leader = this.peers[0]!

  constructor() {
    this.elect(this.leader, 1)
  }

  /** Creates a client, which starts to connect. */
  create(init: Partial<DsmClientInit> = {}, self = SELF): Promise<DsmClient> {
    const { clock, net } = this
    const components = { network: net.node(self), clock, random: { next: () => 0.5 } }
    return createDsmClientOn(components, { peers: [addressOf(PEERS[0])], ...init })
  }

  /** Makes `leader` the leader at `term`, to which the other peers redirect. */
  elect(leader: FakePeer, term: number): void {
    for (const peer of this.peers) {
      peer.term = term
      peer.greeting = peer === leader ? undefined : peer.redirection(leader.id)
    }
  }

  /** Advances virtual time until the promise settles. */
  async until<T>(promise: Promise<T>, limitMs = 120_000): Promise<T> {
    let isSettled = false
    const mark = () => (isSettled = true)
    promise.then(mark, mark)
    await settle()
    for (let spent = 0; !isSettled && spent < limitMs; spent += 10) await this.clock.advance(10)
    if (!isSettled) throw new Error(`still waiting after ${limitMs} ms of virtual time`)
    return promise
  }
}

export function view(client: DsmClient): ClientView {
  return inspectClient(client)
}

/** The current state of a promise: 'waiting', 'resolved', or its error. */
export async function outcome(promise: Promise<unknown>): Promise<unknown> {
  let result: unknown = 'waiting'
  promise.then(
    () => (result = 'resolved'),
    (error: unknown) => (result = error)
  )
  await settle()
  return result
}

/** The error of a promise that must reject. Does not print a resolved value, because a client is too large. */
export async function failure(promise: Promise<unknown>): Promise<Error> {
  let error: unknown
  try {
    await promise
  } catch (caught) {
    error = caught
  }
  if (error instanceof Error) return error
  throw new Error(error === undefined ? 'resolved' : `rejected with ${typeof error}`)
}
