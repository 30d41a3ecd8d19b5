import { AddressBook } from '@quire/net'
import { FakeClock, settle } from '@quire/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { GroupFrames } from '../src/peer/group-frames.js'
import { Link } from '../src/peer/link.js'

const at = (host: number): string => `/ip4/192.0.2.${host}/tcp/4001`
let clock: FakeClock
let book: AddressBook
/** The addresses that each dial was given. */
let dials: (readonly string[])[]

beforeEach(() => {
  clock = new FakeClock()
  book = new AddressBook()
  dials = []
})

/** A link to a peer that answers at one address and then fails the protocol. */
function link(answersAt: string): Link {
  return new Link({
    remote: 'b',
    network: {
      id: 'a',
      handle: () => {},
      dial: (_remote, addresses, options) => {
        dials.push(addresses)
        if (addresses.includes(answersAt)) options.answered?.(answersAt)
        return Promise.reject(new Error('the protocol failed'))
      }
    },
    clock,
    random: { next: () => 0 },
    book,
    logger: undefined,
    maxQueuedBytes: 1000,
    stepMs: () => 2400,
    frames: new GroupFrames(),
    introduce: () => expect.unreachable(),
    welcomed: () => expect.unreachable(),
    refused: () => expect.unreachable(),
    opened: () => expect.unreachable()
  })
}

describe('the addresses of a link', () => {
  it('the addresses of a link begin with the one that answered last, whatever the peer says about others', async () => {
    book.learn('b', [at(1), at(2), at(3)])
    const dialing = link(at(2))
    await settle()
    book.learn('b', [at(9), at(2)])
    await clock.advance(60)
    expect(dials).toEqual([
      [at(1), at(2), at(3)],
      [at(2), at(9), at(3), at(1)]
    ])
    dialing.close()
  })

  it('the addresses of a link keep their order while none answers, because a peer that was down comes back at its old address', async () => {
    book.learn('b', [at(1), at(2)])
    const dialing = link(at(7))
    await clock.advance(1000)
    expect(dials.length).toBeGreaterThan(2)
    expect(new Set(dials.map((each) => each.join()))).toEqual(new Set([`${at(1)},${at(2)}`]))
    dialing.close()
  })
})
