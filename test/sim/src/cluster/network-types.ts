/** Types that the network and its streams share. They have a file of their own because the network imports streams. */
import type { FrameStream, Network } from '@quire/protocol'
import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import type { SimProcess } from '../process.js'
import type { Scheduler } from '../scheduler.js'
import type { Path } from './path.js'

export interface NetworkInit {
  readonly scheduler: Scheduler
  readonly random: RandomSource
  readonly coverage: Coverage
  /** The round trip of every link; 0 puts all nodes in one place. */
  readonly roundTripMs: number
  /** Mean latency of a stream, besides half of the round trip. */
  readonly latencyMs: number
  /** Shares of Raft's frames. */
  readonly raftLoss: number
  readonly raftDuplication: number
  readonly raftReordering: number
  /** Share of the pieces of snapshots that are damaged. */
  readonly pieceDamage: number
  /** Share of dials that fail without a reason. */
  readonly dialFailure: number
  /** Share of frames that arrive together with the next one of their stream. */
  readonly joined: number
  /** Bytes in flight from which `send` returns false. */
  readonly highWaterBytes: number
  /** Bytes per millisecond of each client's line, in each direction; Infinity for no limit. */
  readonly lineBytesPerMs: number
}

interface ProtocolHandler {
  readonly accept: (stream: FrameStream) => void
  /** Answers a node that may not connect. */
  readonly refuse: ((stream: FrameStream, reason: string) => void) | undefined
}

/** The network as one process sees it. */
export interface SimNode extends Network {
  /** Decides who may connect, and closes the connections of all others. */
  setGate(gate: Gate): void
}

/** The part of a peer's configuration that its network knows. */
export interface Gate {
  /** Whether a node may connect; otherwise the reason why not. */
  readonly allow: (id: string) => true | string
  /** Whether a node is a member of the cluster. A relay joins only clients and members. */
  readonly isMember: (id: string) => boolean
}

/** A machine on the network, with the newest process on it. */
export interface Host {
  readonly id: string
  readonly process: SimProcess
  readonly handlers: Map<string, ProtocolHandler>
  /** Where others reach it; undefined for a node that nobody dials. */
  readonly address: string | undefined
  gate: Gate
  /** The machine answers for a process that is gone. */
  isUp: boolean
}

type Sent = (from: string, to: string, protocol: string, frame: Uint8Array, process: SimProcess) => void

/** The part of the network that streams use. */
export interface StreamNetwork {
  readonly init: NetworkInit
  readonly isFaulty: boolean
  readonly onSend: Sent | undefined
  readonly onDeliver: ((from: string, to: string, protocol: string, frame: Uint8Array) => void) | undefined
  readonly onHandlerError: (error: Error) => void
  /** Whether a link along the path lets nothing through. */
  isCut(path: Path): boolean
  isJoined(): boolean
  /** How much slower the slowest link along the path is than usual. */
  slowness(path: Path): number
  /** Returns the time until the last byte of a frame has left the lines along the path. */
  carry(path: Path, protocol: string, bytes: number): number
}
