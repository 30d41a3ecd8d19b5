import { decodeFrame, raftMessage, type GroupMessage } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { GroupFrames } from '../src/peer/group-frames.js'

const entry = (index: number) => ({ index, term: 2, kind: 'normal' as const, data: new Uint8Array(100).fill(index) })
const ENTRIES = [entry(5), entry(6), entry(7)]
const append = (change: object = {}): GroupMessage => {
  const fields = { term: 2, prevIndex: 4, prevTerm: 1, commit: 3, entries: [...ENTRIES] }
  return { type: 'append', ...fields, ...change }
}

/** A frame without its length. */
const decoded = (frame: Uint8Array) => decodeFrame(raftMessage, frame.subarray(4))

describe('frames of group messages', () => {
  it('an append to several followers is encoded once', () => {
    const frames = new GroupFrames()
    const frame = frames.encode(0, append())
    expect(decoded(frame)).toEqual({ group: 0, trace: 0, message: append() })
    expect(frames.encode(0, append())).toBe(frame)
  })

  it.each<[string, object, number]>([
    ['for another group', {}, 1],
    ['of another term', { term: 3 }, 0],
    ['behind another entry', { prevIndex: 3 }, 0],
    ['behind an entry of another term', { prevTerm: 2 }, 0],
    ['with another commit index', { commit: 4 }, 0],
    ['with fewer entries', { entries: ENTRIES.slice(0, 2) }, 0],
    ['with another first entry', { entries: [entry(4), ...ENTRIES.slice(1)] }, 0],
    ['with another last entry', { entries: [...ENTRIES.slice(0, 2), entry(8)] }, 0]
  ])('an append %s has a frame of its own', (_what, change, group) => {
    const frames = new GroupFrames()
    frames.encode(0, append())
    expect(decoded(frames.encode(group, append(change)))).toEqual({ group, trace: 0, message: append(change) })
  })

  it('an append without entries, and any other message, is encoded anew', () => {
    const frames = new GroupFrames()
    const heartbeat: GroupMessage = { type: 'heartbeat', term: 2, commit: 3, round: 1 }
    for (const message of [append({ entries: [] }), heartbeat]) {
      const frame = frames.encode(0, message)
      expect(decoded(frame).message).toEqual(message)
      expect(frames.encode(0, message)).not.toBe(frame)
    }
  })
})
