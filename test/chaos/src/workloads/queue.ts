/**
 * All clients put items into one queue and take them out, under pins. An item is put, or taken, when that is flushed.
 * No item is taken twice, none is lost, and they come out in the order in which they went in.
 */
import { Shared, WrongError, wordsOf, type Program, type Workload, type WorkloadContext } from './workload.js'

const SLOTS = 256
const HEAD = 16
const SLOT_BYTES = 8
const LENGTH = HEAD + SLOTS * SLOT_BYTES
const SIZE = 4096
/** Items that a client puts or takes under one pin. */
const MAX_AT_ONCE = 6

/** These items are in a page without a flush; or so many of them are flushed, the oldest first; or the page is lost. */
type QueueNote =
  | { readonly puts: readonly string[]; readonly takes: readonly string[] }
  | { readonly flushed: { readonly puts: number; readonly takes: number } }
  | { readonly isLost: true }

/** Items are written as `client:number`. */
interface QueueFacts {
  /** Items that are surely in the queue, or were. */
  readonly put: readonly string[]
  /** Items that surely were taken, in order. */
  readonly taken: readonly string[]
  /** Items that were taken, but may be back since: the session was lost before the flush. */
  readonly maybeTaken: readonly string[]
}

export const queue: Workload<QueueFacts, readonly string[], QueueNote> = {
  name: 'queue',
  pauseMs: 15,
  program: (context) => new Queue(context),
  end: async (context) => {
    const mapping = await new Shared(context, '/queue', SIZE).mapping()
    const words = wordsOf(await mapping.read(0, LENGTH))
    const { head, tail } = endsOf(words)
    return Array.from({ length: tail - head }, (_, i) => itemAt(words, head + i))
  },
  facts: factsOfQueue,
  judge: judgeQueue
}

export function factsOfQueue(notes: readonly QueueNote[]): QueueFacts {
  const facts = { put: [] as string[], taken: [] as string[], maybeTaken: [] as string[] }
  let pending = { puts: [] as string[], takes: [] as string[] }
  const lose = (): void => {
    // The loss undoes changes without a flush, unless another client has seen them.
    facts.maybeTaken.push(...pending.takes)
    pending = { puts: [], takes: [] }
  }
  for (const note of notes) {
    if ('isLost' in note) lose()
    else if ('flushed' in note) {
      facts.put.push(...pending.puts.splice(0, note.flushed.puts))
      facts.taken.push(...pending.takes.splice(0, note.flushed.takes))
    } else {
      pending.puts.push(...note.puts)
      pending.takes.push(...note.takes)
    }
  }
  // Of a client that was killed.
  lose()
  return facts
}

export function judgeQueue(facts: readonly QueueFacts[], left: readonly string[]): string[] {
  const problems: string[] = []
  const taken = facts.flatMap((each) => each.taken)
  const once = new Set<string>()
  for (const item of [...taken, ...left]) {
    if (once.has(item)) problems.push(`item ${item} is there twice: taken, or left`)
    once.add(item)
  }
  const maybe = new Set(facts.flatMap(({ maybeTaken }) => maybeTaken))
  for (const item of facts.flatMap(({ put }) => put))
    if (!once.has(item) && !maybe.has(item)) problems.push(`item ${item} was put and flushed, and is gone`)
  for (const { taken: inOrder } of facts) {
    const last = new Map<string, number>()
    for (const item of inOrder) {
      const [client, number] = item.split(':') as [string, string]
      if (Number(number) < (last.get(client) ?? 0)) problems.push(`item ${item} was taken behind a later one`)
      last.set(client, Number(number))
    }
  }
  return problems
}

function endsOf(words: DataView): { readonly head: number; readonly tail: number } {
  const [head, tail] = [words.getUint32(0, true), words.getUint32(8, true)]
  if (tail < head || tail - head > SLOTS) throw new WrongError(`the queue reaches from ${head} to ${tail}`)
  return { head, tail }
}

function slotOf(index: number): number {
  return HEAD + (index % SLOTS) * SLOT_BYTES
}

function itemAt(words: DataView, index: number): string {
  return `${words.getUint32(slotOf(index), true)}:${words.getUint32(slotOf(index) + 4, true)}`
}

class Queue implements Program {
  private readonly shared: Shared
  private next = 0
  /** How many changes have no flush yet. */
  private pending = { puts: 0, takes: 0 }

  constructor(private readonly context: WorkloadContext) {
    this.shared = new Shared(context, '/queue', SIZE)
  }

  async step(): Promise<number> {
    const mapping = await this.shared.mapping()
    const count = this.context.random.int(1, MAX_AT_ONCE)
    {
      using pinned = await mapping.pin(0, LENGTH, 'write')
      const words = wordsOf(pinned.bytes)
      const [puts, takes]: [string[], string[]] = [[], []]
      for (let i = 0; i < count; i++) {
        if (this.context.random.is(0.5)) puts.push(...this.putOne(words))
        else takes.push(...this.takeOne(words))
      }
      this.note({ puts, takes })
      this.pending.puts += puts.length
      this.pending.takes += takes.length
    }
    await this.flush()
    endsOf(wordsOf(await mapping.read(0, HEAD)))
    // The pin, the flush and the read.
    return 3
  }

  private putOne(words: DataView): string[] {
    const { head, tail } = endsOf(words)
    if (tail - head === SLOTS) return []
    words.setUint32(slotOf(tail), this.context.index, true)
    words.setUint32(slotOf(tail) + 4, ++this.next, true)
    words.setUint32(8, tail + 1, true)
    return [itemAt(words, tail)]
  }

  private takeOne(words: DataView): string[] {
    const { head, tail } = endsOf(words)
    if (tail === head) return []
    words.setUint32(0, head + 1, true)
    return [itemAt(words, head)]
  }

  forget(error: Error): void {
    if (error.name === 'SessionExpiredError') {
      this.note({ isLost: true })
      this.pending = { puts: 0, takes: 0 }
    }
    this.shared.forget(error)
  }

  async settle(): Promise<void> {
    await this.flush()
  }

  private async flush(): Promise<void> {
    const flushed = { ...this.pending }
    await (await this.shared.mapping()).msync()
    this.note({ flushed })
    this.pending.puts -= flushed.puts
    this.pending.takes -= flushed.takes
  }

  private note(note: QueueNote): void {
    this.context.note(note)
  }
}
