/** The replicated state machine with its interfaces. It is pure, and compiles without the types of any platform. */
export type { Answer } from './answer.js'
export * from './commands.js'
export * from './view.js'
export { createStateMachine, type EntryKind, type StateMachine } from './state-machine.js'
export {
  decodeRecord,
  encodeRecord,
  type FileData,
  type PageSource,
  type RecordKind,
  type RecordTypes,
  type RestoredState,
  type SessionData,
  type StateRecord,
  type StateStore,
  type StoredPage
} from './records.js'
export { DamagedPageError } from './damaged-page.js'
export * from './units.js'
export { PairMap } from './pair-map.js'
export { MAX_UNSETTLED_REQUESTS } from './answers.js'
export { MAX_RELEASED } from './owners.js'
export * from './member-id.js'
