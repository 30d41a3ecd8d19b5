/**
 * @packageDocumentation
 *
 * Quire's wire protocol (codecs, frames, messages, errors and limits) and the interfaces of its environment. Everything
 * here is pure: it performs no IO, reads no clock, and depends on `uint8arrays` only.
 */
export * from './assert.js'
export * from './bulk-receipts.js'
export * from './bulk-window.js'
export * from './client-messages.js'
export * from './clip-text.js'
export * from './codec.js'
export * from './env.js'
export * from './errors.js'
export * from './files.js'
export * from './frame.js'
export * from './hello.js'
export * from './limits.js'
export * from './members.js'
export * from './page-diff.js'
export * from './page-runs.js'
export * from './raft-messages.js'
export * from './requests.js'
export * from './room.js'
export * from './round-trip.js'
export * from './timing.js'
export * from './validate.js'
