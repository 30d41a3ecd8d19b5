import { MAX_ADDRESSES } from '@quire/protocol'
import { beforeEach, describe, expect, it } from 'vitest'
import { AddressBook, generatePrivateKey, peerIdFromKey } from '../src/index.js'

const at = (host: string): string => `/ip4/192.0.2.${host}/tcp/4001`
let book: AddressBook
beforeEach(() => {
  book = new AddressBook()
})

describe('an address book', () => {
  it('an address book inserts new addresses behind the first one, newest first', () => {
    book.learn('p', [at('1'), at('2')])
    book.learn('p', [at('3'), at('1')])
    book.learn('p', [at('4')])
    expect(book.of('p')).toEqual([at('1'), at('4'), at('3'), at('2')])
  })

  it('an address book moves the address that answers to the front, and the addresses before it to the end', () => {
    book.learn('p', [at('1'), at('2'), at('3'), at('4')])
    book.answered('p', at('3'))
    expect(book.of('p')).toEqual([at('3'), at('4'), at('1'), at('2')])
    book.learn('p', [at('5')])
    expect(book.of('p')).toEqual([at('3'), at('5'), at('4'), at('1'), at('2')])
    book.answered('p', at('3'))
    book.answered('p', at('9'))
    expect(book.of('p')[0]).toBe(at('3'))
  })

  it('an address book keeps the first address and the newest ones when it learns more than the limit', () => {
    book.learn('p', [at('1')])
    for (let host = 2; host < 200; host++) book.learn('p', [at(`${host}`)])
    expect(book.of('p')).toHaveLength(MAX_ADDRESSES)
    expect(book.of('p').slice(0, 2)).toEqual([at('1'), at('199')])
  })

  it('an address book keeps hints at the end, under a limit of their own', () => {
    const known = Array.from({ length: MAX_ADDRESSES }, (_, i) => at(`${i + 1}`))
    book.learn('p', known)
    const hints = Array.from({ length: 40 }, (_, i) => at(`${i + 100}`))
    book.hint('p', [known[3]!, hints[0]!, '/ip4/0.0.0.0/tcp/1'])
    expect(book.of('p')).toEqual([...known, hints[0]])
    book.hint('p', hints.slice(1))
    expect(book.of('p')).toEqual([...known, ...hints.slice(1, MAX_ADDRESSES + 1)])
  })

  it('an address book turns a hint into an address when the peer answers there or reports it', () => {
    book.learn('p', [at('1'), at('2')])
    book.hint('p', [at('3'), at('4'), at('5')])
    book.answered('p', at('4'))
    expect(book.of('p')).toEqual([at('4'), at('1'), at('2'), at('3'), at('5')])
    book.learn('p', [at('5')])
    expect(book.of('p')).toEqual([at('4'), at('5'), at('1'), at('2'), at('3')])
  })

  it('an address book counts new addresses as changes, and neither known ones nor a new order', () => {
    book.learn('p', [at('1'), at('2')])
    book.hint('p', [at('3')])
    const { changes } = book
    book.learn('p', [at('2'), at('1')])
    book.hint('p', [at('3'), at('1')])
    book.answered('p', at('2'))
    expect(book.changes).toBe(changes)
    book.learn('q', [at('1')])
    expect(book.changes).toBe(changes + 1)
  })

  it('an address book keeps neither addresses that this version cannot dial nor those of another peer', async () => {
    const [id, other] = [peerIdFromKey(await generatePrivateKey()), peerIdFromKey(await generatePrivateKey())]
    const good = [at('1'), `${at('2')}/p2p/${id}`, '/dns4/quire.example/tcp/1', '/ip6/2001:db8::1/tcp/1']
    const useless = [
      '/ip4/192.0.2.1/udp/4001/quic-v1',
      `/ip4/192.0.2.1/udp/4001/quic-v1/p2p/${id}`,
      '/ip4/192.0.2.1/tcp/4001/ws',
      '/ip4/0.0.0.0/tcp/4001',
      '/ip4/192.0.2.1/tcp/0',
      `${at('1')}/p2p/${other}`,
      `${at('1')}/p2p/${other}/p2p-circuit/p2p/${id}`,
      '/unix/socket',
      'nonsense',
      ''
    ]
    book.learn(id, [...useless, ...good, ...useless])
    expect(book.of(id)).toEqual(good)
  })
})
