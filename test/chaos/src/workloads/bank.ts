/**
 * Clients move money between accounts of a branch under pins. A branch is one page, so no state of it may lack money.
 */
import type { Mapping } from '@quire/dsm-client'
import { Shared, WrongError, wordsOf, type Program, type Workload, type WorkloadContext } from './workload.js'

const ACCOUNTS = 16
const BALANCE = 1_000
const TOTAL = ACCOUNTS * BALANCE
/** A word in front says whether the accounts of the branch have been filled. */
const HEAD = 8
const LENGTH = HEAD + 8 * ACCOUNTS
const PAGE_BYTES = 4096
/** The page of each branch. With a few, not all clients wait for the same page. */
const BRANCHES = [0, 1, 2, 3].map((page) => page * PAGE_BYTES)
const SIZE = BRANCHES.length * PAGE_BYTES
/** Transfers in a row, each under a pin. Others wait for the page meanwhile. */
const MAX_IN_A_ROW = 4

export const bank: Workload<null, readonly number[]> = {
  name: 'bank',
  pauseMs: 15,
  program: (context) => new Bank(context),
  end: async (context) => {
    const mapping = await new Shared(context, '/bank', SIZE, true).mapping()
    return Promise.all(BRANCHES.map(async (branch) => totalOf(await mapping.read(branch, LENGTH))))
  },
  facts: () => null,
  judge: (_facts, totals) =>
    totals.flatMap((total, i) => (total === TOTAL ? [] : [`branch ${i} holds ${total} instead of ${TOTAL}`]))
}

function totalOf(bytes: Uint8Array): number {
  const words = wordsOf(bytes)
  let total = 0
  for (let i = 0; i < ACCOUNTS; i++) total += words.getInt32(HEAD + 8 * i, true)
  return total
}

class Bank implements Program {
  private readonly shared: Shared

  constructor(private readonly context: WorkloadContext) {
    this.shared = new Shared(context, '/bank', SIZE, true)
  }

  async step(): Promise<number> {
    const { random } = this.context
    const mapping = await this.shared.mapping()
    if (random.is(0.2)) {
      await mapping.msync()
      return 1
    }
    const branch = random.pick(BRANCHES)
    if (random.is(0.3)) {
      const bytes = await mapping.read(branch, LENGTH)
      if (wordsOf(bytes).getUint32(0, true) === 1) check(bytes)
      return 1
    }
    const count = random.int(1, MAX_IN_A_ROW)
    for (let i = 0; i < count; i++) await this.transfer(mapping, branch)
    return count
  }

  private async transfer(mapping: Mapping, branch: number): Promise<void> {
    const { random } = this.context
    using pinned = await mapping.pin(branch, LENGTH, 'write')
    const words = wordsOf(pinned.bytes)
    fill(words)
    check(pinned.bytes)
    const amount = random.int(1, 100)
    for (const change of [-amount, amount]) {
      const at = HEAD + 8 * random.int(0, ACCOUNTS - 1)
      words.setInt32(at, words.getInt32(at, true) + change, true)
    }
  }

  forget(error: Error): void {
    this.shared.forget(error)
  }

  async settle(): Promise<void> {
    const mapping = await this.shared.mapping()
    for (const branch of BRANCHES) {
      // A run may be too short for a transfer.
      using pinned = await mapping.pin(branch, LENGTH, 'write')
      fill(wordsOf(pinned.bytes))
    }
    await mapping.msync()
  }
}

/** Opens the accounts, if nobody has done so. */
function fill(words: DataView): void {
  if (words.getUint32(0, true) === 1) return
  words.setUint32(0, 1, true)
  for (let i = 0; i < ACCOUNTS; i++) words.setInt32(HEAD + 8 * i, BALANCE, true)
}

function check(bytes: Uint8Array): void {
  const total = totalOf(bytes)
  if (total !== TOTAL) throw new WrongError(`the accounts hold ${total} instead of ${TOTAL}`)
}
