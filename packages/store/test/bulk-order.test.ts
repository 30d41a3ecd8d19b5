import { CorruptionError, type LeaderMessage } from '@quire/protocol'
import { beforeEach, describe, expect, it } from 'vitest'
import type { UnreadGrant } from '../src/directory/grant.js'
import { BulkOrder } from '../src/server/bulk-order.js'
import type { Connection } from '../src/server/connection.js'
import { DamagedPageError, type StateView } from '../src/state/index.js'
import { filled } from './state-helpers.js'

const SESSION = 5
const damaged = new Set<number>()
let sent: string[]
let waiting: { readonly page: number; readonly settle: (error?: CorruptionError) => void }[]
let order: BulkOrder
let connection: Connection

const view = {
  version: () => 9,
  page: (file: number, page: number) => {
    if (damaged.has(page)) throw new DamagedPageError('pages', 'test', file, page)
    return { version: 9, bytes: filled(page) }
  }
} as unknown as StateView

beforeEach(() => {
  damaged.clear()
  sent = []
  waiting = []
  const send = (lane: string, message: LeaderMessage): void => {
    const page = 'page' in message ? message.page : ''
    sent.push(`${lane} ${message.type} ${page}`)
  }
  connection = { session: SESSION, send } as unknown as Connection
  order = new BulkOrder({
    view,
    whenRepaired: (_file, page, then) => {
      const wait = { page, settle: then }
      waiting.push(wait)
      return () => (waiting = waiting.filter((each) => each !== wait))
    },
    guard: (input) => input()
  })
})

function unread(page: number): UnreadGrant {
  const facts = { type: 'grant', term: 1, req: page, file: 1, page, access: 'read', owner: false } as const
  return { ...facts, epoch: 0, seq: 0, discard: 0, have: 0 }
}

function grant(page: number): LeaderMessage {
  const { have: _, ...facts } = unread(page)
  return { ...facts, pages: [{ version: 9, bytes: filled(page) }] }
}

function repairAndSend(page: number): void {
  damaged.add(page)
  order.repairAndSend(connection, unread(page))
}

/** Ends the wait for the page. */
function repaired(page: number, error?: CorruptionError): void {
  if (error === undefined) damaged.delete(page)
  const at = waiting.findIndex((each) => each.page === page)
  const [{ settle }] = waiting.splice(at, 1) as [(typeof waiting)[0]]
  settle(error)
}

describe('the order of bulk messages', () => {
  it('messages pass while no page is damaged', () => {
    order.send(connection, grant(1))
    expect(sent).toEqual(['bulk grant 1'])
  })

  it('a grant of a damaged page waits for its repair, and what follows waits behind it', () => {
    repairAndSend(1)
    order.send(connection, grant(2))
    expect(sent).toEqual([])
    repaired(1)
    expect(sent).toEqual(['bulk grant 1', 'bulk grant 2'])
    order.send(connection, grant(3))
    expect(sent).toHaveLength(3)
  })

  it('a second damaged page behind the first one waits for its own repair', () => {
    repairAndSend(1)
    repairAndSend(2)
    order.send(connection, grant(3))
    repaired(1)
    expect(sent).toEqual(['bulk grant 1'])
    repaired(2)
    expect(sent).toEqual(['bulk grant 1', 'bulk grant 2', 'bulk grant 3'])
  })

  it('a fault fails if nobody has a good copy, and what follows goes on', () => {
    repairAndSend(1)
    order.send(connection, grant(2))
    repaired(1, new CorruptionError('page 1', undefined, 'no peer has a good copy'))
    expect(sent).toEqual(['control faultFailed 1', 'bulk grant 2'])
  })

  it('a page that is damaged again when its turn comes waits again', () => {
    repairAndSend(1)
    const [{ settle }] = waiting.splice(0) as [(typeof waiting)[0]]
    settle()
    expect(sent).toEqual([])
    repaired(1)
    expect(sent).toEqual(['bulk grant 1'])
  })

  it('what waits for a session is dropped with its connection', () => {
    repairAndSend(1)
    const [{ settle }] = waiting as [(typeof waiting)[0]]
    order.forget(SESSION)
    expect(waiting).toEqual([])
    damaged.clear()
    settle()
    expect(sent).toEqual([])
  })
})
