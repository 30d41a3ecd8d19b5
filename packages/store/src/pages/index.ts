/** The page store: changed pages in memory over LMDB, checkpoints, and the applier that drives the state machine. */
export * from './backend.js'
export * from './applier.js'
export * from './page-store.js'
export { createLmdbBackend, type LmdbBackendInit } from './lmdb-backend.js'
export { createLmdbStorage } from './lmdb-storage.js'
export { PageStoreError } from './lmdb-errors.js'
export { createMemoryStorage, type MemoryStorage, type MemoryStorageInit } from './memory-backend.js'
export { STORE_FORMAT } from './layout.js'
