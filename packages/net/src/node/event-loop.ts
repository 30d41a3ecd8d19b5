import type { EventLoop } from '../portable/event-loop.js'

export const nodeEventLoop: EventLoop = {
  atEndOfTurn: (task) => {
    // Node runs its tick queue once the microtask queue is empty, and both before timers and IO.
    queueMicrotask(() => process.nextTick(task))
  },
  scheduleInBackground: (delayMs, task) => {
    const timer = setTimeout(task, delayMs)
    timer.unref()
    return () => clearTimeout(timer)
  }
}
