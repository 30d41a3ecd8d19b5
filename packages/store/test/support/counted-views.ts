import type { Backend } from '../../src/pages/index.js'

/** Calls `count` with 1 for each view that is opened, and with -1 when it is closed. Returns the backend. */
export function countViews(backend: Backend, count: (change: 1 | -1) => void): Backend {
  const view = backend.view.bind(backend)
  backend.view = () => {
    const opened = view()
    let isOpen = true
    count(1)
    return {
      from: (table, first) => opened.from(table, first),
      close: () => {
        opened.close()
        if (isOpen) count(-1)
        isOpen = false
      }
    }
  }
  return backend
}
