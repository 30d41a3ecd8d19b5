/**
 * A place for the hard state that needs no further room: a file of one sector, which is made before the log's first
 * segment and stays open. It is written only when a batch does not fit the last segment and no file for the next one
 * can
 * be made, so that a node without space or descriptors can still vote. The hard state only rises (term, then vote, then
 * commit), so the newer of the log's and the reserve's is the valid one.
 *
 * | bytes | what |
 * |---|---|
 * | 8 | magic |
 * | 4 | CRC32C of everything after it |
 * | 4 | length of the fields |
 * | n | fields: the log's identity and the hard state |
 */
import { crc32c } from '@node-rs/crc32'
import { CodecError, CorruptionError, decode, encode, struct, uint } from '@quire/protocol'
import { fromString } from 'uint8arrays/from-string'
import type { HardState } from '../core/types.js'
import { hardState } from './segment-base.js'
import { isZero } from './batch.js'
import { SECTOR_BYTES, type Disk, type DiskFile } from './disk.js'

const RESERVE_NAME = 'hard-state'

const fields = struct({
  /** CRC32C of the identity of the log's owner. */
  identity: uint,
  state: hardState
})

const MAGIC = fromString('QuireHst')
const CRC_AT = 8
const LENGTH_AT = 12
const FIELDS_AT = 16

/**
 * Makes the file of a log that has no segment yet. Its name becomes durable with the first segment's. A crash in an
 * earlier attempt may have left a file that is empty, too short or not allocated, so a file without content is made
 * anew. A file with content belongs to a log and may hold its votes: `Reserve.open` judges it.
 */
export async function makeReserve(disk: Disk): Promise<void> {
  if ((await disk.list()).includes(RESERVE_NAME)) {
    const file = await disk.open(RESERVE_NAME)
    const isUnused = file.read(0, file.bytes).every((byte) => byte === 0)
    await file.close()
    if (!isUnused) return
    await disk.remove(RESERVE_NAME)
  }
  await (await disk.create(RESERVE_NAME, SECTOR_BYTES)).close()
}

/** Stores the hard state while the segments have no room for it. */
export class Reserve {
  private constructor(
    private readonly file: DiskFile,
    private readonly identity: number,
    /** The stored state; undefined if the reserve was never used. */
    readonly found: HardState | undefined
  ) {}

  /**
   * Rejects with CorruptionError if the file is missing or damaged, because votes that this node cast may be forgotten.
   */
  static async open(disk: Disk, identity: number): Promise<Reserve> {
    if (!(await disk.list()).includes(RESERVE_NAME)) throw new CorruptionError(RESERVE_NAME, 0, 'the file is missing')
    const file = await disk.open(RESERVE_NAME)
    try {
      const reserve = new Reserve(file, identity, readState(file.read(0, file.bytes), identity))
      // A killed process, or a failed write, may have left a state that is readable but not durable.
      if (reserve.found !== undefined) await reserve.write(reserve.found)
      return reserve
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /**
   * Resolves when the state is durable. Only one call may run at a time. A sector is written as a whole or not at all,
   * so a crash leaves the old state or the new one.
   */
  write(state: HardState): Promise<void> {
    const sector = new Uint8Array(SECTOR_BYTES)
    const view = new DataView(sector.buffer)
    const encoded = encode(fields, { identity: this.identity, state })
    sector.set(MAGIC)
    sector.set(encoded, FIELDS_AT)
    view.setUint32(LENGTH_AT, encoded.length, true)
    view.setUint32(CRC_AT, crc32c(sector.subarray(LENGTH_AT)), true)
    return this.file.write(0, sector)
  }

  close(): Promise<void> {
    return this.file.close()
  }
}

/** The state that was written last. Throws CorruptionError if the two hold different votes of one term. */
export function newerState(log: HardState, reserve: HardState | undefined): HardState {
  if (reserve === undefined) return log
  if (log.term === reserve.term && log.vote !== undefined && reserve.vote !== undefined && log.vote !== reserve.vote) {
    const reason = `a vote for ${reserve.vote} in term ${log.term}, the log has one for ${log.vote}`
    throw new CorruptionError(RESERVE_NAME, 0, reason)
  }
  const isNewer = reserve.term > log.term || (reserve.term === log.term && reserve.vote !== undefined)
  const { term, vote } = isNewer ? reserve : log
  const commit = Math.max(log.commit, reserve.commit)
  return term === log.term && vote === log.vote && commit === log.commit ? log : { term, vote, commit }
}

function readState(sector: Uint8Array, identity: number): HardState | undefined {
  if (sector.length !== SECTOR_BYTES) throw new CorruptionError(RESERVE_NAME, 0, `${sector.length} bytes long`)
  if (isZero(sector, 0)) return undefined
  const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength)
  if (MAGIC.some((byte, i) => sector[i] !== byte)) throw new CorruptionError(RESERVE_NAME, 0, 'no hard state')
  if (view.getUint32(CRC_AT, true) !== crc32c(sector.subarray(LENGTH_AT))) {
    throw new CorruptionError(RESERVE_NAME, 0, 'bad checksum')
  }
  try {
    const found = decode(fields, sector.subarray(FIELDS_AT, FIELDS_AT + view.getUint32(LENGTH_AT, true)))
    if (found.identity !== identity) throw new CorruptionError(RESERVE_NAME, 0, 'belongs to another log')
    return found.state
  } catch (error) {
    if (error instanceof CodecError) throw new CorruptionError(RESERVE_NAME, FIELDS_AT, error.message)
    throw error
  }
}
