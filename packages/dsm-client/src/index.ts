/**
 * @packageDocumentation
 *
 * The client of Quire opens files of a cluster, maps them, and reads and writes the mapped bytes as one coherent
 * memory.
 *
 * @example
 * ```ts
 * import { createDsmClient } from '@quire/dsm-client'
 *
 * await using client = await createDsmClient({ peers: ['/ip4/127.0.0.1/tcp/4001/p2p/12D3Koo…'] })
 * const file = await client.open('/counters', { create: true, size: 4096 })
 * const mapping = await file.mmap()
 * await mapping.write(0, new Uint8Array([1, 2, 3]))
 * await mapping.msync()
 * ```
 */
export { createDsmClientOn } from './api/create-client.js'
export { createDsmClient } from './create-client.js'
export type { ClientComponents } from './session/session.js'
export { createAddressSpace } from './local/local-space.js'
export type * from './local-types.js'
export type * from './types.js'
export { KeyFileError, generatePrivateKey, loadPrivateKey, savePrivateKey, type PrivateKey } from '@quire/net'
export {
  BusyError,
  CacheFullError,
  ClosedError,
  CorruptionError,
  FileExistsError,
  InvalidArgumentError,
  NoDescriptorsError,
  NoSpaceError,
  NoSuchFileError,
  NotAuthorizedError,
  PastEndError,
  PinConflictError,
  QuireError,
  QuotaExceededError,
  ReadOnlyMappingError,
  RemoteError,
  SessionExpiredError,
  UnavailableError,
  VersionMismatchError,
  type LostRange
} from '@quire/protocol'
