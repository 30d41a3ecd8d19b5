/**
 * The errors that users see. Each is a class with a `name`, a `code` and its facts as fields. Match errors by `name` or
 * `code`. An error that a peer reports crosses the wire as its code and the arguments of its constructor, and arrives
 * as the same class.
 */
import { clipText } from './clip-text.js'
import { f64, list, struct, text, union, type Codec } from './codec.js'
import { MAX_FACT_BYTES } from './limits.js'

export type Fact = string | number

/** The base of every error that Quire reports to its users. */
export abstract class QuireError extends Error {
  abstract readonly code: string

  /** The arguments of the constructor, which cross the wire. */
  declare readonly facts: readonly Fact[]

  constructor(message: string, facts: readonly Fact[]) {
    super(message)
    // Not enumerable: Node prints the fields of an uncaught error, and every fact already is a field.
    Object.defineProperty(this, 'facts', { value: facts })
  }
}

/** No file has this path. */
export class NoSuchFileError extends QuireError {
  override readonly name = 'NoSuchFileError'
  readonly code = 'ERR_NO_ENTRY'
  constructor(readonly path: string) {
    super(`${path}: no such file`, [path])
  }
}

/** The path already has a file, which an exclusive `open` does not accept. */
export class FileExistsError extends QuireError {
  override readonly name = 'FileExistsError'
  readonly code = 'ERR_EXISTS'
  constructor(readonly path: string) {
    super(`${path}: the file exists`, [path])
  }
}

/** An argument is outside its valid values. */
export class InvalidArgumentError extends QuireError {
  override readonly name = 'InvalidArgumentError'
  readonly code = 'ERR_INVALID_ARGUMENT'
  /** `argument` names the argument, `value` is its value, and `expected` describes the valid values. */
  constructor(
    readonly argument: string,
    readonly value: Fact,
    readonly expected: string
  ) {
    super(`${argument} is ${typeof value === 'string' ? JSON.stringify(value) : value}, must be ${expected}`, [
      argument,
      value,
      expected
    ])
  }
}

/**
 * The access reaches beyond the end of the file.
 *
 * The kernel sends SIGBUS in this case.
 */
export class PastEndError extends QuireError {
  override readonly name = 'PastEndError'
  readonly code = 'ERR_PAST_END'
  constructor(
    readonly path: string,
    readonly offset: number,
    readonly size: number
  ) {
    super(`${path}: offset ${offset} is at or beyond the end (${size} bytes)`, [path, offset, size])
  }
}

/**
 * The write goes through a mapping that was made for reading.
 *
 * The kernel sends SIGSEGV in this case.
 */
export class ReadOnlyMappingError extends QuireError {
  override readonly name = 'ReadOnlyMappingError'
  readonly code = 'ERR_READ_ONLY'
  constructor(readonly path: string) {
    super(`${path}: mapped for reading`, [path])
  }
}

/** Bytes that a client had written but not flushed when its session ended. `path` and `file` name the file. */
export interface LostRange {
  readonly file: string
  readonly path: string
  readonly offset: number
  readonly length: number
}

/**
 * The cluster has ended this client's session.
 *
 * The session's files and mappings are unusable, and `lost` was never durable.
 */
export class SessionExpiredError extends QuireError {
  override readonly name = 'SessionExpiredError'
  readonly code = 'ERR_SESSION_EXPIRED'
  constructor(
    readonly session: string,
    readonly lost: readonly LostRange[] = []
  ) {
    const bytes = lost.reduce((sum, range) => sum + range.length, 0)
    super(
      `session ${session} has expired: the cluster did not hear from this client for its time to live` +
        (lost.length > 0
          ? `; ${bytes} unflushed bytes in ${lost.length} ${lost.length === 1 ? 'range' : 'ranges'} are lost`
          : '') +
        '; open the file again',
      [session]
    )
  }
}

/**
 * No majority answered in time.
 *
 * Acknowledged data is not lost. The caller may repeat the operation.
 */
export class UnavailableError extends QuireError {
  override readonly name = 'UnavailableError'
  readonly code = 'ERR_UNAVAILABLE'
  constructor(readonly reason: string) {
    super(`unavailable: ${reason}`, [reason])
  }
}

/** A pin of another client held the page for longer than the caller was willing to wait. */
export class BusyError extends QuireError {
  override readonly name = 'BusyError'
  readonly code = 'ERR_BUSY'
  constructor(
    readonly path: string,
    readonly offset: number
  ) {
    super(`${path}: offset ${offset} is pinned elsewhere and was not released in time`, [path, offset])
  }
}

/** The range cannot be laid out contiguously beside the existing pins. */
export class PinConflictError extends QuireError {
  override readonly name = 'PinConflictError'
  readonly code = 'ERR_PIN_CONFLICT'
  constructor(
    readonly path: string,
    readonly offset: number,
    readonly length: number
  ) {
    super(`${path}: ${length} bytes at ${offset} cannot be pinned contiguously`, [path, offset, length])
  }
}

/** The cache has too little room beside pinned pages or private copies, or is smaller than one pin. */
export class CacheFullError extends QuireError {
  override readonly name = 'CacheFullError'
  readonly code = 'ERR_CACHE_FULL'
  /** `wantedBytes` is the number of bytes that must be in the cache at the same time. */
  constructor(
    readonly cacheBytes: number,
    readonly wantedBytes: number
  ) {
    super(
      wantedBytes > cacheBytes
        ? `${wantedBytes} bytes cannot be pinned in a cache of ${cacheBytes} bytes: raise cacheBytes`
        : `no room for ${wantedBytes} bytes in the cache (${cacheBytes} bytes): pins or private copies are in the way`,
      [cacheBytes, wantedBytes]
    )
  }
}

/** A disk is full. */
export class NoSpaceError extends QuireError {
  override readonly name = 'NoSpaceError'
  readonly code = 'ERR_NO_SPACE'
  constructor(readonly where: string) {
    super(`${where}: no space left`, [where])
  }
}

/**
 * The process or the whole system has no file descriptor left.
 *
 * The operation had no effect and may be repeated.
 */
export class NoDescriptorsError extends QuireError {
  override readonly name = 'NoDescriptorsError'
  readonly code = 'ERR_NO_DESCRIPTORS'
  /** `reason` is the system's error code: EMFILE for the limit of the process, ENFILE for that of the system. */
  constructor(
    readonly where: string,
    readonly reason: string
  ) {
    super(`${where}: no file descriptor is left (${reason})`, [where, reason])
  }
}

/** A temporary lack of a resource. Until it passes, operations are refused; nothing is damaged. */
export type Shortage = NoSpaceError | NoDescriptorsError

export function isShortage(error: unknown): error is Shortage {
  return error instanceof NoSpaceError || error instanceof NoDescriptorsError
}

/** A quota of the cluster is used up. */
export class QuotaExceededError extends QuireError {
  override readonly name = 'QuotaExceededError'
  readonly code = 'ERR_QUOTA'
  constructor(
    readonly quota: string,
    readonly limit: number
  ) {
    super(`${quota}: the quota of ${limit} is used up`, [quota, limit])
  }
}

/** Stored bytes do not match their checksum, without an intact copy elsewhere. */
export class CorruptionError extends QuireError {
  override readonly name = 'CorruptionError'
  readonly code = 'ERR_CORRUPT'
  constructor(
    readonly where: string,
    /** In bytes. Undefined if the damage has no such position. */
    readonly offset: number | undefined,
    readonly reason: string
  ) {
    const place = offset === undefined ? '' : ` at offset ${offset}`
    super(`${where}: damaged${place}: ${reason}`, offset === undefined ? [where, reason] : [where, offset, reason])
  }
}

/** A remote or a stored file has a version that this program does not support. */
export class VersionMismatchError extends QuireError {
  override readonly name = 'VersionMismatchError'
  readonly code = 'ERR_VERSION'
  constructor(
    readonly what: string,
    readonly found: number,
    readonly supported: number
  ) {
    super(`${what}: version ${found}, this program speaks ${supported}`, [what, found, supported])
  }
}

/** The cluster or the local node refuses a remote. */
export class NotAuthorizedError extends QuireError {
  override readonly name = 'NotAuthorizedError'
  readonly code = 'ERR_NOT_AUTHORIZED'
  constructor(
    readonly who: string,
    readonly reason: string
  ) {
    super(`${who} is refused: ${reason}`, [who, reason])
  }
}

/** The leader refuses a change of the cluster, which has changed nothing. */
export class ChangeRefusedError extends QuireError {
  override readonly name = 'ChangeRefusedError'
  readonly code = 'ERR_CHANGE_REFUSED'
  constructor(
    readonly change: string,
    readonly reason: string
  ) {
    super(`${change} is refused: ${reason}`, [change, reason])
  }
}

/** The client, file, mapping, network or peer was closed before or during the call. */
export class ClosedError extends QuireError {
  override readonly name = 'ClosedError'
  readonly code = 'ERR_CLOSED'
  constructor(readonly what: string) {
    super(`${what} is closed`, [what])
  }
}

/** A remote has reported an error whose code this version does not know. */
export class RemoteError extends QuireError {
  override readonly name = 'RemoteError'
  constructor(readonly code: string) {
    super(`the remote failed with ${code}`, [])
  }
}

/** An error on the wire. */
export interface WireError {
  readonly code: string
  readonly facts: readonly Fact[]
}

// Rebuilding checks only types. A malicious remote can cause an odd message and nothing worse.
const rebuild: Readonly<Record<string, (facts: readonly Fact[]) => QuireError>> = {
  ERR_NO_ENTRY: (f) => new NoSuchFileError(str(f[0])),
  ERR_EXISTS: (f) => new FileExistsError(str(f[0])),
  ERR_INVALID_ARGUMENT: (f) => new InvalidArgumentError(str(f[0]), f[1] ?? '', str(f[2])),
  ERR_PAST_END: (f) => new PastEndError(str(f[0]), num(f[1]), num(f[2])),
  ERR_READ_ONLY: (f) => new ReadOnlyMappingError(str(f[0])),
  ERR_SESSION_EXPIRED: (f) => new SessionExpiredError(str(f[0])),
  ERR_UNAVAILABLE: (f) => new UnavailableError(str(f[0])),
  ERR_BUSY: (f) => new BusyError(str(f[0]), num(f[1])),
  ERR_PIN_CONFLICT: (f) => new PinConflictError(str(f[0]), num(f[1]), num(f[2])),
  ERR_CACHE_FULL: (f) => new CacheFullError(num(f[0]), num(f[1])),
  ERR_NO_SPACE: (f) => new NoSpaceError(str(f[0])),
  ERR_NO_DESCRIPTORS: (f) => new NoDescriptorsError(str(f[0]), str(f[1])),
  ERR_QUOTA: (f) => new QuotaExceededError(str(f[0]), num(f[1])),
  ERR_CORRUPT: (f) =>
    f.length < 3
      ? new CorruptionError(str(f[0]), undefined, str(f[1]))
      : new CorruptionError(str(f[0]), num(f[1]), str(f[2])),
  ERR_VERSION: (f) => new VersionMismatchError(str(f[0]), num(f[1]), num(f[2])),
  ERR_NOT_AUTHORIZED: (f) => new NotAuthorizedError(str(f[0]), str(f[1])),
  ERR_CHANGE_REFUSED: (f) => new ChangeRefusedError(str(f[0]), str(f[1])),
  ERR_CLOSED: (f) => new ClosedError(str(f[0]))
}

/** Clips long facts, such as paths and system messages, so that every error can be encoded. */
export function errorToWire(error: QuireError): WireError {
  const facts = error.facts.map((each) => (typeof each === 'string' ? clipText(each, MAX_FACT_BYTES) : each))
  return { code: error.code, facts }
}

export function errorFromWire(wire: WireError): QuireError {
  return rebuild[wire.code]?.(wire.facts) ?? new RemoteError(wire.code)
}

const fact: Codec<Fact> = (() => {
  const tagged = union({ text: [1, struct({ value: text(MAX_FACT_BYTES) })], number: [2, struct({ value: f64 })] })
  return {
    minBytes: tagged.minBytes,
    write: (writer, value) =>
      tagged.write(writer, typeof value === 'string' ? { type: 'text', value } : { type: 'number', value }),
    read: (reader) => tagged.read(reader).value
  }
})()

export const wireError: Codec<WireError> = struct({ code: text(64), facts: list(fact, 8) })

function str(value: Fact | undefined): string {
  return String(value ?? '')
}

function num(value: Fact | undefined): number {
  return Number(value ?? 0)
}
