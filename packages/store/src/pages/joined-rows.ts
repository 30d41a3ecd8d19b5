import { compare } from 'uint8arrays/compare'
import { equals } from 'uint8arrays/equals'
import type { BackendView } from './backend.js'

/** The rows under one key: a page, or what damage has left of one. `body` is valid until the next rows. */
export interface JoinedRows {
  readonly key: Uint8Array
  readonly head: Uint8Array | undefined
  readonly body: Uint8Array | undefined
}

type Row = readonly [key: Uint8Array, value: Uint8Array]

/** Joins heads and bodies from the key `first` on, in the order of their keys. */
export function* joinedRows(view: BackendView, first: Uint8Array): Iterable<JoinedRows> {
  const bodies: Iterator<Row, undefined> = view.from('bodies', first)[Symbol.iterator]()
  const nextBody = (): Row | undefined => bodies.next().value
  /** The next body, if it was read before its head. */
  let early: Row | undefined
  try {
    for (const [lentKey, lentHead] of view.from('heads', first)) {
      // Copies, because the views are valid only until the next row of either table.
      const [key, head] = [lentKey.slice(), lentHead.slice()]
      let next = early ?? nextBody()
      for (; next !== undefined && compare(next[0], key) < 0; next = nextBody()) yield withoutHead(next)
      const body = next !== undefined && equals(next[0], key) ? next[1] : undefined
      if (body !== undefined) early = undefined
      else if (next !== early) early = next && [next[0].slice(), next[1].slice()]
      yield { key, head, body }
    }
    for (let next = early ?? nextBody(); next !== undefined; next = nextBody()) yield withoutHead(next)
  } finally {
    bodies.return?.()
  }
}

function withoutHead([key, body]: Row): JoinedRows {
  return { key: key.slice(), head: undefined, body }
}
