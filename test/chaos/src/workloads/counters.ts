/** All clients increment the same counters under pins. An increment counts when it is flushed. */
import type { Mapping } from '@quire/dsm-client'
import { Shared, wordsOf, type Program, type Workload, type WorkloadContext } from './workload.js'

/** Some share a page, others do not. */
const OFFSETS = [0, 8, 4096, 3 * 4096 + 4088]
const SIZE = 4 * 4096
/** Increments in a row, each under a pin. */
const MAX_IN_A_ROW = 3

/** An increment of this counter begins; or a flush has confirmed these. */
type CounterNote = { readonly tried: number } | { readonly flushed: readonly number[] }

interface CounterFacts {
  /** By counter: the increments that are surely in it, and those that may be. */
  readonly flushed: readonly number[]
  readonly tried: readonly number[]
}

export const counters: Workload<CounterFacts, readonly number[], CounterNote> = {
  name: 'counters',
  pauseMs: 15,
  program: (context) => new Counters(context),
  end: async (context) => {
    const mapping = await new Shared(context, '/counters', SIZE, true).mapping()
    return Promise.all(OFFSETS.map(async (offset) => wordsOf(await mapping.read(offset, 8)).getUint32(0, true)))
  },
  facts: (notes) => {
    const [flushed, tried] = [OFFSETS.map(() => 0), OFFSETS.map(() => 0)]
    for (const note of notes) {
      if ('tried' in note) tried[note.tried]!++
      else for (const [i, count] of note.flushed.entries()) flushed[i]! += count
    }
    return { flushed, tried }
  },
  judge: (facts, end) =>
    end.flatMap((value, i) => {
      const least = facts.reduce((sum, { flushed }) => sum + flushed[i]!, 0)
      const most = facts.reduce((sum, { tried }) => sum + tried[i]!, 0)
      if (value >= least && value <= most) return []
      return [`counter ${i} is ${value}, but ${least} increments were flushed and ${most} tried`]
    })
}

class Counters implements Program {
  private readonly shared: Shared
  /** Increments that a flush has not confirmed yet. */
  private pending = OFFSETS.map(() => 0)

  constructor(private readonly context: WorkloadContext) {
    this.shared = new Shared(context, '/counters', SIZE, true)
  }

  async step(): Promise<number> {
    const { random } = this.context
    const mapping = await this.shared.mapping()
    if (random.is(0.2)) {
      await this.flush()
      return 1
    }
    const i = random.int(0, OFFSETS.length - 1)
    const count = random.int(1, MAX_IN_A_ROW)
    for (let j = 0; j < count; j++) await this.increment(mapping, i)
    return count
  }

  private async increment(mapping: Mapping, i: number): Promise<void> {
    const pinned = await mapping.pin(OFFSETS[i]!, 8, 'write')
    this.note({ tried: i })
    const word = wordsOf(pinned.bytes)
    word.setUint32(0, word.getUint32(0, true) + 1, true)
    pinned.release()
    this.pending[i]!++
  }

  forget(error: Error): void {
    // A flush that has failed may be repeated, unless the session is gone.
    if (error.name === 'SessionExpiredError') this.pending = OFFSETS.map(() => 0)
    this.shared.forget(error)
  }

  async settle(): Promise<void> {
    await this.flush()
  }

  private async flush(): Promise<void> {
    const before = [...this.pending]
    await (await this.shared.mapping()).msync()
    this.note({ flushed: before })
    for (const [i, count] of before.entries()) this.pending[i]! -= count
  }

  private note(note: CounterNote): void {
    this.context.note(note)
  }
}
