/**
 * What tests of several packages share: virtual time, a network in memory, random numbers from a seed. Nothing here
 * waits for real time. Tests import it, and no package does.
 *
 * @packageDocumentation
 */
export { FakeClock, settle } from './fake-clock.js'
export { FakeNet } from './fake-net.js'
export { FakeStream } from './fake-stream.js'
export { createRandomSource, type RandomSource } from './random-source.js'
