/**
 * The records of the state machine. Checkpoints, restores and digests treat its tables as records.
 *
 * A record has a kind, two numbers that identify it within the kind, and an immutable value. A change makes a new
 * value, so a checkpoint in progress keeps a consistent state.
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

/** `linked` says whether a path leads to the file. `path` is its last path, or empty if it has never had one. */
export type FileData = WireFileStat & { readonly linked: boolean }

const sessionData = struct({ clientId: text(MAX_PEER_ID_BYTES), ttlMs: uint, settled: uint })
/** The client has the answers of all requests below `settled`. */
export type SessionData = TypeOf<typeof sessionData>

export interface RecordTypes {
  /** (0, 0) */
  readonly config: ReplicatedConfig
  /** (0, 0): the first configuration. It never changes, and outlives its log entry. */
  readonly founding: ReplicatedConfig
  /** (0, 0): see owners.ts. */
  readonly epochFloor: { readonly epoch: number }
  /** (session, 0) */
  readonly session: SessionData
  /** (file, 0) */
  readonly file: FileData
  /** (session, file): the session maps the file. */
  readonly mapping: object
  /** (file, first page): `count` neighboring pages. A file that is owned as a whole has one record, of page 0. */
  readonly owner: PageOwner & { readonly count: number }
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
  owner: struct({ count: uint, session: uint, epoch: uint, seq: uint }),
  answer
}

export function encodeRecord<K extends RecordKind>(kind: K, value: RecordTypes[K]): Uint8Array {
  const codec: Codec<RecordTypes[K]> = codecs[kind]
  return encode(codec, value, kind === 'owner' ? 40 : 256)
}

/** Throws CodecError. */
export function decodeRecord<K extends RecordKind>(kind: K, bytes: Uint8Array): RecordTypes[K] {
  const codec: Codec<RecordTypes[K]> = codecs[kind]
  return decode(codec, bytes)
}

/** A stored page. `version` is the log index of the entry that wrote it. */
export interface StoredPage {
  readonly version: number
  /** `pageSize` bytes, which must not change. undefined: all zeros. A page of zeros never has bytes. */
  readonly bytes: Uint8Array | undefined
}

/** Provides pages to the state machine. A page is absent if no entry has written it since its last removal. */
export interface PageSource {
  /** Returns undefined for an absent page. Throws DamagedPageError. */
  read(file: number, page: number): StoredPage | undefined
  /**
   * Returns the version of the page, or 0 for an absent page, without reading its bytes. Throws DamagedPageError if the
   * version is damaged.
   */
  version(file: number, page: number): number
  /** Returns the numbers of the file's pages in any order. Slow: only digests use it. */
  pages(file: number): Iterable<number>
}

/** Takes the changes of the state machine: pages, which it reads again, and records for the next checkpoint. */
export interface StateStore extends PageSource {
  /** Keeps `stored.bytes`, which the caller no longer changes. */
  write(file: number, page: number, stored: StoredPage): void
  /** The page has another version from now on, but its bytes depend on damaged ones: reads throw DamagedPageError. */
  lose(file: number, page: number, version: number): void
  /** Removes the pages from `first` up to but without `end`. Most pages of a large range may be absent. */
  remove(file: number, first: number, end: number): void
  /** Sets the value of a record. undefined removes the record. */
  put<K extends RecordKind>(kind: K, a: number, b: number, value: RecordTypes[K] | undefined): void
}

/** The state after `appliedIndex`. Sessions and files come before the records that name them. */
export interface RestoredState {
  readonly appliedIndex: number
  readonly records: Iterable<StateRecord>
}
