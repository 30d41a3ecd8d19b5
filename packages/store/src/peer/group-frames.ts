import { encodeFrame, raftEntryBytes, raftMessage, type GroupMessage } from '@quire/protocol'

/** Any frame other than an append fits into this many bytes. */
const SMALL_FRAME_BYTES = 128

type Append = Extract<GroupMessage, { type: 'append' }>

/** Encodes the messages of groups. An append that goes to several followers is encoded once, and has one frame. */
export class GroupFrames {
  private newest: { readonly group: number; readonly append: Append; readonly frame: Uint8Array } | undefined

  /** Nobody may change the frame. */
  encode(group: number, message: GroupMessage): Uint8Array {
    if (message.type !== 'append' || message.entries.length === 0) return encodeWith(SMALL_FRAME_BYTES, group, message)
    const { newest } = this
    if (newest?.group === group && isSameAppend(newest.append, message)) return newest.frame
    const bytes = message.entries.reduce((sum, entry) => sum + raftEntryBytes(entry), SMALL_FRAME_BYTES)
    const frame = encodeWith(bytes, group, message)
    this.newest = { group, append: message, frame }
    return frame
  }
}

function encodeWith(capacity: number, group: number, message: GroupMessage): Uint8Array {
  return encodeFrame(raftMessage, message, group, 0, capacity)
}

/** The entries of a leader are the same objects for all followers, and have no gap between the first and the last. */
function isSameAppend(a: Append, b: Append): boolean {
  return (
    a.term === b.term &&
    a.prevIndex === b.prevIndex &&
    a.prevTerm === b.prevTerm &&
    a.commit === b.commit &&
    a.entries.length === b.entries.length &&
    a.entries[0] === b.entries[0] &&
    a.entries.at(-1) === b.entries.at(-1)
  )
}
