/**
 * Decides linearizability going forward in time, with all possible pasts at once: just-in-time linearization (Lowe,
 * "Testing for Linearizability", 2017). An operation is placed no earlier than when some operation returns that needs
 * it.
 *
 * It suits objects of few states, such as a file's size. However many operations have no known return, few pasts are
 * left, because a past ends if another one has the same state and has used up less. A page has many states, and most
 * of its operations may be placed in the first order that comes to mind: `check` searches for that one, in depth.
 */
import { DEFAULT_MAX_STEPS, isOptional, type Model, type Operation, type Verdict } from './checker.js'

/** One possible past: the object's state, and the operations that are under way and placed already. */
interface Past<S, I> {
  readonly state: S
  /** Those that need not happen. Another past is better if it has placed fewer of them, for it can still use them. */
  readonly optional: bigint
  /** Those that must happen and may change the object. */
  readonly required: bigint
  /** Those that must happen and change nothing. Another past is better if it has placed more of them. */
  readonly idle: bigint
  /** The newest operation that is placed, and those before it. */
  readonly order: Order<I> | undefined
}

interface Order<I> {
  readonly last: Operation<I>
  readonly before: Order<I> | undefined
  readonly length: number
}

/** An operation that is under way. Its bit stands for it in a past. */
interface Pending<I> {
  readonly operation: Operation<I>
  readonly bit: bigint
  readonly kind: 'optional' | 'required' | 'idle'
}

/**
 * The model's `isIdle` must not depend on the state. No operation may have `undoneWith`.
 *
 * `maxSteps` bounds the pasts that are looked at.
 */
export function checkJustInTime<S, I>(
  operations: readonly Operation<I>[],
  model: Model<S, I>,
  maxSteps = DEFAULT_MAX_STEPS
): Verdict<I> {
  return new Sweep(model, maxSteps).run(operations)
}

class Sweep<S, I> {
  private readonly pending = new Map<Operation<I>, Pending<I>>()
  private readonly idle = new Set<Pending<I>>()
  private readonly freeBits: bigint[] = []
  private pasts: readonly Past<S, I>[]
  private steps = 0

  constructor(
    private readonly model: Model<S, I>,
    private readonly maxSteps: number
  ) {
    this.pasts = [{ state: model.initial, optional: 0n, required: 0n, idle: 0n, order: undefined }]
  }

  run(operations: readonly Operation<I>[]): Verdict<I> {
    for (const { operation, isCall } of momentsOf(operations)) {
      const pasts = isCall ? this.call(operation) : this.return(operation)
      if (this.steps > this.maxSteps) return { result: 'undecided', steps: this.maxSteps }
      if (pasts.length === 0) return { result: 'violation', reached: this.longest(), stuck: operation }
      this.pasts = pasts
    }
    return { result: 'linearizable', order: listOf(this.pasts[0]!.order) }
  }

  private call(operation: Operation<I>): readonly Past<S, I>[] {
    const bit = this.freeBits.pop() ?? 1n << BigInt(this.pending.size)
    const isIdle = this.model.isIdle?.(this.model.initial, operation.input) ?? false
    const pending: Pending<I> = {
      operation,
      bit,
      kind: isOptional(operation) ? 'optional' : isIdle ? 'idle' : 'required'
    }
    this.pending.set(operation, pending)
    if (pending.kind !== 'idle') return this.pasts
    this.idle.add(pending)
    return this.pasts.map((past) => this.place(past, pending) ?? past)
  }

  /** Returns the pasts in which the operation is over. */
  private return(operation: Operation<I>): readonly Past<S, I>[] {
    const returned = this.pending.get(operation)!
    const next = new Best<S, I>(this.model)
    for (const past of this.pasts) {
      if (returned.kind === 'optional' || isPlaced(past, returned)) next.add(without(past, returned))
    }
    const others = this.pasts.filter((past) => !isPlaced(past, returned))
    for (const past of this.reach(others, returned)) next.add(without(past, returned))
    this.pending.delete(operation)
    this.idle.delete(returned)
    this.freeBits.push(returned.bit)
    return next.all()
  }

  /** Places other operations in every order that is of use until `goal` can be placed, and then that one. */
  private *reach(from: readonly Past<S, I>[], goal: Pending<I>): Iterable<Past<S, I>> {
    const seen = new Best<S, I>(this.model)
    const queue = from.filter((past) => seen.add(past))
    for (const past of queue) {
      if (++this.steps > this.maxSteps) return
      for (const each of this.pending.values()) {
        if (isPlaced(past, each)) continue
        const after = this.place(past, each)
        if (after === undefined) continue
        const settled = this.placeIdle(after)
        if (isPlaced(settled, goal)) yield settled
        else if (seen.add(settled)) queue.push(settled)
      }
    }
  }

  private place(past: Past<S, I>, { operation, bit, kind }: Pending<I>): Past<S, I> | undefined {
    const state = this.model.step(past.state, operation.input)
    // An optional operation that would change nothing is left out.
    if (state === undefined || (kind === 'optional' && this.model.key(state) === this.model.key(past.state))) {
      return undefined
    }
    const order = { last: operation, before: past.order, length: (past.order?.length ?? 0) + 1 }
    return { ...past, state, [kind]: past[kind] | bit, order }
  }

  /** Places all operations that fit and change nothing: to wait with them would not help. */
  private placeIdle(past: Past<S, I>): Past<S, I> {
    let result = past
    for (const each of this.idle) if (!isPlaced(result, each)) result = this.place(result, each) ?? result
    return result
  }

  private longest(): Operation<I>[] {
    const orders = this.pasts.map(({ order }) => order)
    return listOf(orders.reduce((a, b) => ((b?.length ?? 0) > (a?.length ?? 0) ? b : a), undefined))
  }
}

/** Pasts of which none is as good as another one or better. */
class Best<S, I> {
  private readonly groups = new Map<string, Past<S, I>[]>()

  constructor(private readonly model: Model<S, I>) {}

  /** Returns whether the past is better than all others in some respect. Those that are no better than it go. */
  add(past: Past<S, I>): boolean {
    const key = `${past.required} ${this.model.key(past.state)}`
    const group = this.groups.get(key) ?? []
    if (group.some((each) => isNoWorse(each, past))) return false
    this.groups.set(key, [...group.filter((each) => !isNoWorse(past, each)), past])
    return true
  }

  all(): Past<S, I>[] {
    return [...this.groups.values()].flat()
  }
}

/** Of two pasts with the same state and the same required operations: whether what can follow `b` can follow `a`. */
function isNoWorse<S, I>(a: Past<S, I>, b: Past<S, I>): boolean {
  return (a.optional & b.optional) === a.optional && (a.idle & b.idle) === b.idle
}

function isPlaced<S, I>(past: Past<S, I>, { bit, kind }: Pending<I>): boolean {
  return (past[kind] & bit) !== 0n
}

function without<S, I>(past: Past<S, I>, { bit, kind }: Pending<I>): Past<S, I> {
  return { ...past, [kind]: past[kind] & ~bit }
}

/** At equal times calls stand before returns, because the operations overlap. What never returns has only a call. */
function momentsOf<I>(operations: readonly Operation<I>[]): { operation: Operation<I>; isCall: boolean }[] {
  const moments = operations.flatMap((operation) => [
    { operation, isCall: true, at: operation.call },
    ...(operation.return === Infinity ? [] : [{ operation, isCall: false, at: operation.return }])
  ])
  return moments.sort((a, b) => a.at - b.at || Number(b.isCall) - Number(a.isCall))
}

function listOf<I>(order: Order<I> | undefined): Operation<I>[] {
  const list: Operation<I>[] = []
  for (let each = order; each !== undefined; each = each.before) list.push(each.last)
  return list.reverse()
}
