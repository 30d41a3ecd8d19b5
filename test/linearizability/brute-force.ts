/** The definition of linearizability: tries every order, for a handful of operations. */
import type { Model, Operation } from './src/checker.js'

export function isLinearizable<S, I>(operations: readonly Operation<I>[], model: Model<S, I>): boolean {
  return canGoOn(model.initial, operations, [], model)
}

/** `undone`: the operations that have not happened, of those that stand before what is left. */
function canGoOn<S, I>(
  state: S,
  left: readonly Operation<I>[],
  undone: readonly Operation<I>[],
  model: Model<S, I>
): boolean {
  if (left.every((each) => each.return === Infinity)) return true
  return left.some((next) => {
    const others = left.filter((each) => each !== next)
    // An operation that returned before this one was called comes before it.
    if (others.some((each) => each.return < next.call)) return false
    if (next.isOptional === true && canGoOn(state, others, [...undone, next], model)) return true
    if (undone.some(({ undoneWith }) => undoneWith !== undefined && undoneWith === next.undoneWith)) return false
    const after = model.step(state, next.input)
    return after !== undefined && canGoOn(after, others, undone, model)
  })
}
