/** Clocks that jump, or run fast or slow, by libfaketime. Leases and timeouts must depend on neither. */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { OwnPeer } from '../cluster/own-peer.js'
import { whyNoHub } from '../machines/namespaces.js'
import type { OwnFault } from './fault.js'

const LIBRARIES = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib', '/usr/lib64'].map(
  (folder) => `${folder}/faketime/libfaketimeMT.so.1`
)
const NAME = 'clock'
/** Seconds. */
const MAX_JUMP = 90_000
/** Monotonic clocks may differ by this much (docs/ARCHITECTURE.md, Time). */
const MAX_DRIFT = 0.01

/**
 * The library shares its state with the processes that a peer starts, under a semaphore. One of them that exits while
 * one of its threads has the semaphore would stop the peer for ever. So they do not hear of it.
 */
const UNSHARED = {
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent('delete process.env.FAKETIME_SHARED')}`
} as const

function library(): string | undefined {
  return LIBRARIES.find((path) => existsSync(path))
}

function whyNot(): string | undefined {
  if (library() === undefined) return 'libfaketime is not installed'
  // The library leaves a file in /dev/shm behind for each process that is killed. That of the hub ends with it.
  return whyNoHub()
}

/** The library reads how far the peer's wall clock is off from this file, once a second. */
function fileOf(peer: OwnPeer): string {
  return join(peer.folder, 'clock')
}

/** The wall clock can jump while the peer runs. The monotonic clock is the machine's. */
function letJump(peer: OwnPeer): Promise<void> {
  writeFileSync(fileOf(peer), '+0\n')
  peer.interposed.set(NAME, {
    ...UNSHARED,
    LD_PRELOAD: library()!,
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    FAKETIME_TIMESTAMP_FILE: fileOf(peer),
    FAKETIME_CACHE_DURATION: '1'
  })
  return Promise.resolve()
}

export const clockJump: OwnFault = {
  kind: 'clock',
  name: 'wall clock jumps',
  lane: 'processes',
  perMinute: 0.25,
  needs: 'the clock of a peer',
  whyNot,
  prepare: letJump,
  make({ cluster, random }, begins) {
    const peer = random.pick(cluster.members)
    const seconds = random.int(-MAX_JUMP, MAX_JUMP)
    const offset = `${seconds >= 0 ? '+' : ''}${seconds}`
    begins(`${peer.name}: ${offset} s`)
    writeFileSync(fileOf(peer), `${offset}\n`)
    return Promise.resolve()
  }
}

/** The peer starts again with clocks that run fast or slow, until it starts again without. */
export const clockDrift: OwnFault = {
  kind: 'clock',
  name: 'clock fast or slow',
  lane: 'processes',
  perMinute: 0.15,
  needs: 'the clock of a peer',
  whyNot,
  async make({ cluster, random, pause }, begins) {
    const peer = random.pick(cluster.members)
    const rate = 1 + random.between(-MAX_DRIFT, MAX_DRIFT)
    begins(`${peer.name}: ${rate.toFixed(4)}`)
    await peer.stop()
    peer.interposed.set(NAME, { ...UNSHARED, LD_PRELOAD: library()!, FAKETIME: `+0 x${rate.toFixed(6)}` })
    await peer.start()
    await pause(random.between(5_000, 15_000))
    await peer.stop()
    await letJump(peer)
    await peer.start()
  }
}
