/**
 * Searches for one order of all operations that respects real time and the object's rules: the search of Wing and Gong
 * ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of earlier attempts ("Testing for
 * Linearizability", 2017). A branch ends if another one has reached the same object state with the same operations
 * placed.
 */

/** A sequential object with immutable states. */
export interface Model<S, I> {
  readonly initial: S
  /** Returns the state after `input`, or undefined if the object could not have answered so. */
  step(state: S, input: I): S | undefined
  /**
   * Whether the input changes nothing in this state, and no later operation needs it: a read, or a write that no read
   * sees over others. The search places it as soon as it can, which makes the search much shorter.
   */
  isIdle?(state: S, input: I): boolean
  /** Equal for equal states, and for no others. */
  key(state: S): string
}

export interface Operation<I> {
  readonly input: I
  readonly call: number
  /**
   * Infinity if nobody knows whether it happened. Then it may stand anywhere after its call, even behind everything
   * else.
   */
  readonly return: number
  /** It may not have happened. If it did, it happened before its return. */
  readonly isOptional?: boolean
  /**
   * Optional operations with the same name are undone from one point on: if one of them has not happened, none after it
   * has.
   */
  readonly undoneWith?: string
}

export type Verdict<I> =
  | { readonly result: 'linearizable'; readonly order: readonly Operation<I>[] }
  /** `reached` is the longest order that was found. After it, `stuck` has to return and cannot be placed. */
  | { readonly result: 'violation'; readonly reached: readonly Operation<I>[]; readonly stuck: Operation<I> }
  /** The search took more than `maxSteps`. The history is at fault, because it must be decidable. */
  | { readonly result: 'undecided'; readonly steps: number }

/** One of an operation's two moments, in a list ordered by time. */
interface Moment<I> {
  readonly operation: Operation<I>
  readonly id: number
  readonly isCall: boolean
  /** The call of a return. */
  call: Moment<I>
  /** The return of a call. */
  end: Moment<I> | undefined
  previous: Moment<I> | undefined
  next: Moment<I> | undefined
}

interface Decision<S, I> {
  readonly call: Moment<I>
  readonly before: S
  /** It did not happen: an optional operation. */
  readonly isPassed: boolean
  /** No other branch from here could be better. */
  readonly isFinal: boolean
}

interface Timed<I> extends Moment<I> {
  readonly at: number
}

export const DEFAULT_MAX_STEPS = 5_000_000

export function check<S, I>(
  operations: readonly Operation<I>[],
  model: Model<S, I>,
  maxSteps = DEFAULT_MAX_STEPS
): Verdict<I> {
  return new Search(operations, model, maxSteps).run()
}

/** Searches, depth first, for an order of the operations that time and the model permit. */
class Search<S, I> {
  private readonly head: Moment<I>
  private readonly placed = new Placed()
  /** How many operations of each `undoneWith` group have been passed over. */
  private readonly undone = new Map<string, number>()
  private readonly stack: Decision<S, I>[] = []
  private readonly tried = new Set<string>()
  private state: S
  private reached: Operation<I>[] = []
  /** How many decisions led to `reached`. */
  private reachedDecisions = 0
  private stuck: Operation<I> | undefined

  constructor(
    operations: readonly Operation<I>[],
    private readonly model: Model<S, I>,
    private readonly maxSteps: number
  ) {
    this.head = listOf(operations)
    this.state = model.initial
  }

  run(): Verdict<I> {
    let at = this.head.next
    // Try first the orders in which no optional operation happens: they are the likely ones.
    let withOptional = false
    for (let steps = 0; at !== undefined; steps++) {
      if (steps >= this.maxSteps) return { result: 'undecided', steps }
      if (at.isCall) {
        if (isOptional(at.operation) === withOptional && this.place(at)) [at, withOptional] = [this.head.next, false]
        else at = at.next
      } else if (at.operation.return === Infinity) {
        break
      } else if (!withOptional) {
        ;[at, withOptional] = [this.head.next, true]
      } else if (at.operation.isOptional === true && this.passOver(at)) {
        ;[at, withOptional] = [this.head.next, false]
      } else {
        this.remember(at.operation)
        const undone = this.undo()
        if (undone === undefined) return { result: 'violation', reached: this.reached, stuck: this.stuck! }
        ;[at, withOptional] = [undone.next, isOptional(undone.operation)]
      }
    }
    // No operation must return any more. The remaining ones are optional.
    return { result: 'linearizable', order: this.order }
  }

  private get order(): Operation<I>[] {
    return this.stack.filter(({ isPassed }) => !isPassed).map(({ call }) => call.operation)
  }

  /** Places the operation next, if the object allows that and the result is new. */
  private place(call: Moment<I>): boolean {
    const { input, undoneWith } = call.operation
    if (undoneWith !== undefined && this.undone.has(undoneWith)) return false
    const after = this.model.step(this.state, input)
    if (after === undefined) return false
    // Leave out an optional operation that would change nothing, unless others would be undone with it.
    const isMissed = undoneWith !== undefined || !isOptional(call.operation)
    if (!isMissed && this.model.key(after) === this.model.key(this.state)) return false
    return this.settle(call, after, { isPassed: false, isFinal: this.model.isIdle?.(this.state, input) ?? false })
  }

  /** Its time is over, and it has not happened. */
  private passOver({ call }: Moment<I>): boolean {
    this.countUndone(call.operation, 1)
    // Nothing else was left to place before its end.
    if (this.settle(call, this.state, { isPassed: true, isFinal: true })) return true
    this.countUndone(call.operation, -1)
    return false
  }

  private settle(call: Moment<I>, after: S, kind: Pick<Decision<S, I>, 'isPassed' | 'isFinal'>): boolean {
    this.placed.add(call.id)
    const key = `${this.placed.key} ${[...this.undone.keys()].sort().join()} ${this.model.key(after)}`
    if (this.tried.has(key)) {
      this.placed.delete(call.id)
      return false
    }
    this.tried.add(key)
    this.stack.push({ call, before: this.state, ...kind })
    this.state = after
    lift(call)
    return true
  }

  /** Takes back the newest decision that leaves an alternative, and returns the call that it placed. */
  private undo(): Moment<I> | undefined {
    for (let last = this.stack.pop(); last !== undefined; last = this.stack.pop()) {
      this.state = last.before
      this.placed.delete(last.call.id)
      if (last.isPassed) this.countUndone(last.call.operation, -1)
      unlift(last.call)
      if (!last.isFinal) return last.call
    }
    return undefined
  }

  private countUndone({ undoneWith }: Operation<I>, change: number): void {
    if (undoneWith === undefined) return
    const count = (this.undone.get(undoneWith) ?? 0) + change
    if (count > 0) this.undone.set(undoneWith, count)
    else this.undone.delete(undoneWith)
  }

  private remember(stuck: Operation<I>): void {
    if (this.stuck !== undefined && this.stack.length <= this.reachedDecisions) return
    this.reachedDecisions = this.stack.length
    this.reached = this.order
    this.stuck = stuck
  }
}

export function isOptional<I>(operation: Operation<I>): boolean {
  return operation.isOptional === true || operation.return === Infinity
}

/**
 * Holds a set of operations in the form of a prefix of all operations with a few members beyond its end.
 *
 * A search places operations nearly in the order of their calls, so few members lie beyond the prefix.
 */
class Placed {
  private first = 0
  private readonly beyond = new Set<number>()

  get key(): string {
    return `${this.first}:${[...this.beyond].sort((a, b) => a - b).join()}`
  }

  add(id: number): void {
    this.beyond.add(id)
    while (this.beyond.delete(this.first)) this.first++
  }

  delete(id: number): void {
    this.beyond.delete(id)
    for (; this.first > id; this.first--) if (this.first - 1 !== id) this.beyond.add(this.first - 1)
  }
}

/** All moments by time. At equal times a call stands before a return, because the two operations overlap. */
function listOf<I>(operations: readonly Operation<I>[]): Moment<I> {
  // Operations that need not be placed come last. Otherwise one that is never placed would keep `Placed` from making a
  // prefix of all that come after it.
  const needNot = (operation: Operation<I>): number => (operation.return === Infinity ? 1 : 0)
  const ordered = [...operations].sort((a, b) => needNot(a) - needNot(b) || a.call - b.call)
  const moments: Timed<I>[] = []
  for (const [id, operation] of ordered.entries()) {
    const links = { operation, id, previous: undefined, next: undefined }
    const end: Timed<I> = { ...links, isCall: false, call: undefined!, end: undefined, at: operation.return }
    const call: Timed<I> = { ...links, isCall: true, call: undefined!, end, at: operation.call }
    call.call = end.call = call
    moments.push(call, end)
  }
  moments.sort((a, b) => a.at - b.at || Number(b.isCall) - Number(a.isCall))
  const head = { previous: undefined, next: undefined } as unknown as Moment<I>
  let last = head
  for (const moment of moments) {
    last.next = moment
    moment.previous = last
    last = moment
  }
  return head
}

function lift<I>(call: Moment<I>): void {
  for (const moment of [call, call.end!]) {
    moment.previous!.next = moment.next
    if (moment.next !== undefined) moment.next.previous = moment.previous
  }
}

/** Undoes the newest `lift`. */
function unlift<I>(call: Moment<I>): void {
  for (const moment of [call.end!, call]) {
    moment.previous!.next = moment
    if (moment.next !== undefined) moment.next.previous = moment
  }
}
