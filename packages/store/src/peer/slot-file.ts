/**
 * A small text that is replaced often. Two preallocated slots are written in turn, so most file systems can write them
 * even when they are full.
 *
 * | bytes of a slot | hold |
 * |---|---|
 * | 4 | CRC32C of all that follows, up to the end of the text |
 * | 4 | length of the text |
 * | 8 | sequence number: the slot with the higher one is the newer |
 * | rest | the text, UTF-8 |
 *
 * A crash in the middle of a write leaves the other slot intact.
 */
import { crc32c } from '@node-rs/crc32'
import { ClosedError, CorruptionError, InvalidArgumentError, NoSpaceError } from '@quire/protocol'
import { refuseIrregular } from '@quire/raft/node-disk'
import { existsSync, readFileSync } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { replaceFile } from './durable.js'

const HEADER_BYTES = 16
const SLOTS = 2

interface Slot {
  readonly sequence: number
  readonly text: string
}

export interface SlotFile {
  /** The newest text at the time when the file was opened; empty for a new file. */
  readonly text: string
  /**
   * Writes the text, which is durable when this resolves. Calls during a write share the next write, which has the
   * latest text. After a failed write, the next call tries again. Rejects with ClosedError after `close`.
   */
  write(text: string): Promise<void>
  close(): Promise<void>
}

/** The part of `node:fs/promises` that a slot file uses. */
export type OpenForWrite = (path: string, flags: string) => Promise<Pick<FileHandle, 'write' | 'datasync' | 'close'>>

/** Opens the file, or makes it. `slotBytes` must never change. Throws CorruptionError if neither slot is valid. */
export function openSlotFile(path: string, slotBytes: number, openFile: OpenForWrite = open): SlotFile {
  refuseIrregular(path)
  if (!existsSync(path)) {
    // One slot is valid from the beginning. So a file without a valid slot is damaged.
    const content = new Uint8Array(SLOTS * slotBytes)
    content.set(encodeSlot({ sequence: SLOTS, text: '' }))
    replaceFile(path, content)
  }
  return new Slots(path, slotBytes, newestSlot(path, readFileSync(path), slotBytes), openFile)
}

function newestSlot(path: string, bytes: Uint8Array, slotBytes: number): Slot {
  const slots: Slot[] = []
  for (let at = 0; at < SLOTS; at++) {
    const slot = readSlot(bytes.subarray(at * slotBytes, (at + 1) * slotBytes))
    if (slot !== undefined) slots.push(slot)
  }
  const newest = slots.sort((a, b) => b.sequence - a.sequence)[0]
  if (newest === undefined) throw new CorruptionError(path, 0, 'neither slot holds a text that matches its checksum')
  return newest
}

function encodeSlot({ sequence, text }: Slot): Uint8Array {
  const body = new TextEncoder().encode(text)
  const slot = new Uint8Array(HEADER_BYTES + body.length)
  const view = new DataView(slot.buffer)
  view.setUint32(4, body.length, true)
  view.setBigUint64(8, BigInt(sequence), true)
  slot.set(body, HEADER_BYTES)
  view.setUint32(0, crc32c(slot.subarray(4)), true)
  return slot
}

function readSlot(bytes: Uint8Array): Slot | undefined {
  if (bytes.length < HEADER_BYTES) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const end = HEADER_BYTES + view.getUint32(4, true)
  const sequence = Number(view.getBigUint64(8, true))
  if (end > bytes.length || crc32c(bytes.subarray(4, end)) !== view.getUint32(0, true)) return undefined
  return { sequence, text: new TextDecoder().decode(bytes.subarray(HEADER_BYTES, end)) }
}

/** Writes each new text over the older of the file's two slots. */
class Slots implements SlotFile {
  readonly text: string
  private sequence: number
  private file: Awaited<ReturnType<OpenForWrite>> | undefined
  private closed = false
  private running: Promise<void> | undefined
  private waiting: { text: string; readonly done: Promise<void> } | undefined

  constructor(
    private readonly path: string,
    private readonly slotBytes: number,
    newest: Slot,
    private readonly openFile: OpenForWrite
  ) {
    this.text = newest.text
    this.sequence = newest.sequence
  }

  write(text: string): Promise<void> {
    if (this.closed) return Promise.reject(new ClosedError(this.path))
    if (this.waiting !== undefined) {
      this.waiting.text = text
      return this.waiting.done
    }
    const previous = this.running ?? Promise.resolve()
    const done = previous
      .catch(() => {})
      .then(() => {
        const { text: latest } = this.waiting!
        this.waiting = undefined
        this.running = done
        return this.writeSlot(latest)
      })
    this.waiting = { text, done }
    return done
  }

  async close(): Promise<void> {
    this.closed = true
    await (this.waiting?.done ?? this.running)?.catch(() => {})
    const { file } = this
    this.file = undefined
    await file?.close()
  }

  private async writeSlot(text: string): Promise<void> {
    const sequence = this.sequence + 1
    const slot = encodeSlot({ sequence, text })
    if (slot.length > this.slotBytes) {
      const expected = `at most ${this.slotBytes - HEADER_BYTES} bytes`
      throw new InvalidArgumentError('text', `${slot.length - HEADER_BYTES} bytes`, expected)
    }
    this.file ??= await this.openFile(this.path, 'r+')
    // In place: a full file system still has room for allocated bytes, unless it copies on write. Then it may write
    // only a part.
    const start = (sequence % SLOTS) * this.slotBytes
    let done = 0
    while (done < slot.length) {
      const { bytesWritten } = await this.file.write(slot, done, slot.length - done, start + done)
      if (bytesWritten === 0) throw new NoSpaceError(this.path)
      done += bytesWritten
    }
    await this.file.datasync()
    // Only now: after a failure, even of the flush, the next write repeats the whole slot.
    this.sequence = sequence
  }
}
