import { encode, raftConfiguration, raftEntryBytes } from '@quire/protocol'
import { fromString } from 'uint8arrays/from-string'
import type { Configuration, Entry, HardState, LogReader, SnapshotMeta, StorageWrite } from '../../src/core/index.js'

export function entry(index: number, term: number, text = `${index}@${term}`): Entry {
  return { index, term, kind: 'normal', data: fromString(text) }
}

export type Members = { readonly [K in keyof Configuration]?: readonly string[] }

export function configurationData({
  voters = [],
  learners = [],
  outgoing = [],
  learnersNext = []
}: Members): Uint8Array {
  return encode(raftConfiguration, {
    voters: [...voters],
    learners: [...learners],
    outgoing: [...outgoing],
    learnersNext: [...learnersNext],
    context: new Uint8Array(0)
  })
}

/** The first entry of every log. */
export function firstConfiguration(members: Members, term = 1): Entry {
  return configurationEntry(1, term, members)
}

export function configurationEntry(index: number, term: number, members: Members): Entry {
  return { index, term, kind: 'config', data: configurationData(members) }
}

/** A log in memory in which every `write` is durable at once. */
export class HandStorage implements LogReader {
  /** The entry before the first one, and the configuration in force there. */
  private base: { index: number; term: number; configuration: Entry | undefined } = {
    index: 0,
    term: 0,
    configuration: undefined
  }
  /** Entries up to this index cannot be read now. */
  unreadableUpTo = 0
  /** Indexes that were read. */
  readonly reads: { readonly lo: number; readonly hi: number }[] = []

  constructor(
    readonly stored: Entry[],
    public hardState: HardState
  ) {}

  get firstIndex(): number {
    return this.base.index + 1
  }

  get lastIndex(): number {
    return this.base.index + this.stored.length
  }

  /** The `config` entries, from the one in force before the first entry on. */
  get configurations(): Entry[] {
    const { configuration } = this.base
    return [...(configuration === undefined ? [] : [configuration]), ...this.stored.filter(isConfiguration)]
  }

  term(index: number): number | undefined {
    if (index === this.base.index) return this.base.term
    return this.stored[index - this.firstIndex]?.term
  }

  entries(lo: number, hi: number, maxBytes: number): Entry[] {
    this.reads.push({ lo, hi })
    if (lo <= this.unreadableUpTo) return []
    const found = this.stored.slice(lo - this.firstIndex, hi - this.firstIndex)
    let bytes = 0
    const end = found.findIndex((each, i) => (bytes += raftEntryBytes(each)) > maxBytes && i > 0)
    return end < 0 ? found : found.slice(0, end)
  }

  write({ hardState, reset, entries }: StorageWrite): void {
    if (hardState !== undefined) this.hardState = hardState
    if (reset !== undefined) this.reset(reset)
    for (const added of entries) this.stored.splice(added.index - this.firstIndex, Infinity, added)
  }

  private reset({ index, term, configuration }: SnapshotMeta): void {
    this.base = { index, term, configuration }
    this.stored.length = 0
  }

  /** Drops entries up to `index`. */
  compact(index: number): void {
    if (index > this.lastIndex) throw new Error(`the log ends at ${this.lastIndex}`)
    const configuration = this.configurations.findLast((each) => each.index <= index)
    const term = this.term(index)!
    this.stored.splice(0, index - this.base.index)
    this.base = { index, term, configuration }
  }
}

function isConfiguration({ kind }: Entry): boolean {
  return kind === 'config'
}
