/** What the program's thread and the client's thread say to each other. */
import type { LostRange, WireError } from '@quire/protocol'
import type { MessagePort } from 'node:worker_threads'
import type { HistoryEvent } from '../history.js'

/** The settings of a client, in a form that can be copied to another thread. */
export interface EngineInit {
  readonly peers: string | readonly string[]
  readonly cluster: string | undefined
  /** As in a key file. */
  readonly privateKey: string | undefined
  readonly cacheBytes: number
  readonly sessionTtlMs: number
  readonly faultTimeoutMs: number
  /** A level of pino. */
  readonly logLevel: string
  readonly hasHistory: boolean
  readonly slabs: MessagePort
  readonly answers: MessagePort
  /** Counts the answers to synchronous calls. The program's thread sleeps on it. */
  readonly answered: Int32Array
}

/** The client itself, among the objects that a call may name. */
export const CLIENT = 0

/** A call of a method of an object that lives in the client's thread. */
export interface Call {
  readonly type: 'call'
  /** Numbers the calls; 0 if nobody waits for the answer. */
  readonly id: number
  readonly object: number
  readonly method: string
  readonly args: readonly unknown[]
  /** The last of `args` are the options of the call, without their signal. */
  readonly hasOptions: boolean
  /** The program's thread sleeps until the answer is here. */
  readonly isSync: boolean
  /** The call's signal has aborted already. */
  readonly isAborted: boolean
}

export type ToEngine = Call | { readonly type: 'abort'; readonly id: number }

/** An error on its way to another thread. Errors of other kinds than Quire's cross as they are. */
export type ThreadError =
  | { readonly quire: WireError; readonly lost: readonly LostRange[] | undefined }
  | { readonly other: unknown }

/** The answer to a call. */
export type Answer =
  | { readonly type: 'done'; readonly id: number; readonly value: unknown }
  | { readonly type: 'failed'; readonly id: number; readonly error: ThreadError }

export type FromEngine =
  | Answer
  | { readonly type: 'ready'; readonly peerId: string; readonly table: SharedArrayBuffer }
  | { readonly type: 'refused'; readonly error: ThreadError }
  | { readonly type: 'event'; readonly name: string; readonly detail: unknown }
  | { readonly type: 'lost'; readonly object: number; readonly error: ThreadError }
  | { readonly type: 'history'; readonly event: HistoryEvent }
  /** A line of pino. */
  | { readonly type: 'log'; readonly line: string }

/** A slab of frames has come, or, without memory, has gone. */
export interface SlabMessage {
  readonly number: number
  readonly memory: SharedArrayBuffer | undefined
}

// ---- objects that a call returns

export interface RemoteFile {
  readonly object: number
  readonly id: string
  readonly path: string
  readonly pageSize: number
  /** Number of the address space. */
  readonly space: number
  /** The session that opened it. */
  readonly session: string
}

export interface RemoteMapping {
  readonly object: number
  readonly offset: number
  readonly length: number
  readonly isShared: boolean
}

export interface RemotePin {
  readonly object: number
  /** On memory that the threads share. */
  readonly bytes: Uint8Array
}
