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

/** Items are written as `client:number`. */
interface QueueFacts {
  /** Items that are surely in the queue, or were. */
  readonly put: readonly string[]
  /** Items that surely were taken, in order. */
  readonly taken: readonly string[]
  /** Items that were taken, but may be back since: the session was lost before the flush. */
  readonly maybeTaken: readonly string[]
}

export const queue: Workload<QueueFacts, readonly string[]> = {
  name: 'queue',
  pauseMs: 15,
  program: (context) => new Queue(context),
  end: async (context) => {
    const mapping = await new Shared(context, '/queue', SIZE).mapping()
    const words = wordsOf(await mapping.read(0, LENGTH))
    const { head, tail } = endsOf(words)
    return Array.from({ length: tail - head }, (_, i) => itemAt(words, head + i))
  },
  judge: judgeQueue
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

class Queue implements Program<QueueFacts> {
  private readonly shared: Shared
  private next = 0
  private readonly put: string[] = []
  private readonly taken: string[] = []
  private readonly maybeTaken: string[] = []
  private pendingPut: string[] = []
  private pendingTaken: string[] = []

  constructor(private readonly context: WorkloadContext) {
    this.shared = new Shared(context, '/queue', SIZE)
  }

  async step(): Promise<number> {
    const mapping = await this.shared.mapping()
    const count = this.context.random.int(1, MAX_AT_ONCE)
    let done = 0
    {
      using pinned = await mapping.pin(0, LENGTH, 'write')
      const words = wordsOf(pinned.bytes)
      for (let i = 0; i < count; i++) if (this.context.random.is(0.5) ? this.putOne(words) : this.takeOne(words)) done++
    }
    await this.flush()
    return done
  }

  private putOne(words: DataView): boolean {
    const { head, tail } = endsOf(words)
    if (tail - head === SLOTS) return false
    words.setUint32(slotOf(tail), this.context.index, true)
    words.setUint32(slotOf(tail) + 4, ++this.next, true)
    words.setUint32(8, tail + 1, true)
    this.pendingPut.push(itemAt(words, tail))
    return true
  }

  private takeOne(words: DataView): boolean {
    const { head, tail } = endsOf(words)
    if (tail === head) return false
    this.pendingTaken.push(itemAt(words, head))
    words.setUint32(0, head + 1, true)
    return true
  }

  forget(error: Error): void {
    if (error.name === 'SessionExpiredError') {
      // The loss undoes changes without a flush, unless another client has seen them.
      this.maybeTaken.push(...this.pendingTaken)
      this.pendingPut = []
      this.pendingTaken = []
    }
    this.shared.forget(error)
  }

  async facts(): Promise<QueueFacts> {
    await this.flush()
    return { put: this.put, taken: this.taken, maybeTaken: this.maybeTaken }
  }

  private async flush(): Promise<void> {
    const [put, taken] = [this.pendingPut.length, this.pendingTaken.length]
    await (await this.shared.mapping()).msync()
    this.put.push(...this.pendingPut.splice(0, put))
    this.taken.push(...this.pendingTaken.splice(0, taken))
  }
}
