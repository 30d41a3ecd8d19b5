/**
 * What the state machine keeps, as records: the unit in which its tables are checkpointed, restored and hashed.
 *
 * A record is a kind, two numbers that name it within the kind, and an immutable value: a change makes a new one, so
 * that whoever holds an older value (a checkpoint that is being written) keeps a consistent picture.
 */
import {
  bool,
  decode,
  encode,
  fileStat,
  struct,
  text,
  uint,
  MAX_PEER_ID_BYTES,
  type Codec,
  type TypeOf,
  type WireFileStat
} from '@quire/protocol'
import { answer, type Answer } from './answer.js'
import { clusterConfig, type ReplicatedConfig } from './commands.js'
import type { PageOwner } from './view.js'

/** `linked`: a path leads to it. `path` is its last one, and empty while it has never had any. */
export type FileData = WireFileStat & { readonly linked: boolean }

const sessionData = struct({ clientId: text(MAX_PEER_ID_BYTES), ttlMs: uint, settled: uint })
/** `settled`: answers to all requests below it have arrived at the client. */
export type SessionData = TypeOf<typeof sessionData>

export interface RecordTypes {
  /** (0, 0) */
  readonly config: ReplicatedConfig
  /** (0, 0): the first configuration, which no later one changes. It outlives the log entry that brought it. */
  readonly founding: ReplicatedConfig
  /** (0, 0): see owners.ts. */
  readonly epochFloor: { readonly epoch: number }
  /** (session, 0) */
  readonly session: SessionData
  /** (file, 0) */
  readonly file: FileData
  /** (session, file): the session maps the file. */
  readonly mapping: object
  /** (file, page); page 0 for all where the file is owned as a whole. */
  readonly owner: PageOwner
  /** (session, seq) */
  readonly answer: Answer
}
export type RecordKind = keyof RecordTypes

export type StateRecord = {
  readonly [K in RecordKind]: {
    readonly kind: K
    readonly a: number
    readonly b: number
    readonly value: RecordTypes[K]
  }
}[RecordKind]

const fileData: Codec<FileData> = {
  minBytes: fileStat.minBytes + bool.minBytes,
  write: (writer, value) => {
    fileStat.write(writer, value)
    bool.write(writer, value.linked)
  },
  read: (reader) => ({ ...fileStat.read(reader), linked: bool.read(reader) })
}

const codecs: { readonly [K in RecordKind]: Codec<RecordTypes[K]> } = {
  config: clusterConfig,
  founding: clusterConfig,
  epochFloor: struct({ epoch: uint }),
  session: sessionData,
  file: fileData,
  mapping: struct({}),
  owner: struct({ session: uint, epoch: uint, seq: uint }),
  answer
}

export function encodeRecord<K extends RecordKind>(kind: K, value: RecordTypes[K]): Uint8Array {
  const codec: Codec<RecordTypes[K]> = codecs[kind]
  return encode(codec, value, kind === 'owner' ? 32 : 256)
}

/** Throws CodecError. */
export function decodeRecord<K extends RecordKind>(kind: K, bytes: Uint8Array): RecordTypes[K] {
  const codec: Codec<RecordTypes[K]> = codecs[kind]
  return decode(codec, bytes)
}

/**
 * A page as it is stored: `pageSize` bytes that nobody changes any more. `version` is the log index that wrote them.
 */
export interface StoredPage {
  readonly version: number
  readonly bytes: Uint8Array
}

/** Where the state machine reads pages. A page that was never written, or was removed, is absent. */
export interface PageSource {
  /** Throws CorruptionError when the stored bytes do not match their checksum. */
  read(file: number, page: number): StoredPage | undefined
  /** Version of the page without its bytes; 0: it is absent. */
  version(file: number, page: number): number
  /** Numbers of the file's written pages, in any order. For digests, not for every day. */
  pages(file: number): Iterable<number>
}

/** Where the state machine keeps what it changes: pages to read again, and records for the next checkpoint. */
export interface StateStore extends PageSource {
  /** Takes `page.bytes` over. */
  write(file: number, page: number, stored: StoredPage): void
  /**
   * Removes the pages from `first` up to but without `end`. The range may be far larger than what was written of it.
   */
  remove(file: number, first: number, end: number): void
  /** A record's new value; undefined removes it. */
  put<K extends RecordKind>(kind: K, a: number, b: number, value: RecordTypes[K] | undefined): void
}

/** A state to start from: all records after `appliedIndex`, parents (sessions, files) before what refers to them. */
export interface RestoredState {
  readonly appliedIndex: number
  readonly records: Iterable<StateRecord>
}
