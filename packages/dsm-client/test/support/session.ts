/** A world of scripted peers and a client in it, which each test gets anew and the hooks take down. */
import { afterEach, beforeEach, expect } from 'vitest'
import type { DsmClient } from '../../src/types.js'
import { World } from './client.js'

export const TTL = 8000
/** The time limit of each handshake step if the peers are near each other. */
export const STEP_MS = 2400

export let world: World
/** The client that the test has connected; undefined until then, so that no test can use another test's client. */
export let client: DsmClient

/** Registers hooks that make a new world before each test, and close the test's client afterwards. */
export function useWorld(): void {
  beforeEach(() => {
    world = new World()
    client = undefined!
  })

  afterEach(async () => {
    // Each test leaves no timer behind.
    if ((client as DsmClient | undefined) !== undefined) await world.until(client.close().catch(() => {}))
    // Messages to a distant peer may still be in flight.
    await world.clock.advance(world.net.roundTripMs)
    expect(world.clock.pending).toBe(0)
  })
}

/** Waits until the client that the test creates is connected. */
export async function connect(creating: Promise<DsmClient>): Promise<DsmClient> {
  client = await world.until(creating)
  return client
}

/** A client that has a session of `TTL`, in a world that `prepare` changes first. */
export async function connected(prepare: (world: World) => void = () => {}, init: Parameters<World['create']>[0] = {}) {
  prepare(world)
  await connect(world.create({ sessionTtlMs: TTL, ...init }))
  return { client, clock: world.clock, leader: world.leader, cluster: world.cluster }
}

/** A client that maps a file of 16 pages. */
export async function withFile(init: Parameters<World['create']>[0] = {}) {
  const connection = await connected(undefined, init)
  const file = await connection.client.open('/f', { create: true, size: 16 * 4096 })
  const mapping = await file.mmap()
  return { ...connection, file, mapping }
}

export const byte = (value: number) => new Uint8Array([value])
