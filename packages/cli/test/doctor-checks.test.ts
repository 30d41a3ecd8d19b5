import { describe, expect, it } from 'vitest'
import {
  checkClock,
  checkDisk,
  checkListenAddress,
  checkNode,
  checkOpenFiles,
  checkVoterAddress,
  type ClockSample,
  type Finding
} from '../src/doctor-checks.js'
import { findingLines } from '../src/doctor.js'

const PEER = '12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X'
const NOW = Date.UTC(2026, 5, 1)

/** Samples every 50 ms whose wall clock is ahead of the monotonic one by `offsets`. */
function samples(...offsets: number[]): ClockSample[] {
  return offsets.map((offset, i) => ({ monotonic: i * 50, wall: NOW + i * 50 + offset }))
}

const verdictOf = ({ verdict }: Finding): string => verdict

describe('quire doctor', () => {
  it.each([
    ['20.19.0', 'ok'],
    ['22.1.0', 'ok'],
    ['20.18.3', 'problem'],
    ['18.20.0', 'problem']
  ])('quire doctor compares Node %s with the range of the package: %s', (version, verdict) => {
    expect(checkNode(version, '>=20.19')).toMatchObject({ check: 'node', verdict })
  })

  it('quire doctor names the least Node version as the remedy for one that is too old', () => {
    expect(checkNode('18.20.0', '>=20.19')).toMatchObject({
      found: '18.20.0 is too old',
      remedy: 'Install Node 20.19 or later.'
    })
  })

  it('quire doctor finds no fault with a limit of open files that has room for all connections', () => {
    for (const limit of [4096, Infinity]) expect(verdictOf(checkOpenFiles({ limit, open: 20 }))).toBe('ok')
  })

  it('quire doctor warns of a limit of open files that has room for fewer connections, and says for how many', () => {
    expect(checkOpenFiles({ limit: 1024, open: 20 })).toMatchObject({
      verdict: 'warning',
      found: 'the limit is 1024: room for 705 of 2048 connections'
    })
  })

  it('quire doctor finds a problem in a limit of open files with which no peer starts, and names the least one', () => {
    expect(checkOpenFiles({ limit: 200, open: 20 })).toMatchObject({
      verdict: 'problem',
      found: 'the limit is 200, quire needs at least 256',
      remedy: expect.stringContaining('ulimit') as string
    })
    expect(checkOpenFiles({ limit: 300, open: 250 })).toMatchObject({
      verdict: 'problem',
      found: 'the limit is 300, a peer needs at least 330',
      remedy: expect.stringContaining('ulimit') as string
    })
  })

  it('quire doctor finds no fault with clocks that go alike, whatever their readings are', () => {
    expect(checkClock(samples(0, 1, 0, 2, 1))).toMatchObject({ verdict: 'ok', found: 'no jump in 200 ms' })
  })

  it.each([3000, -3000])('quire doctor warns of a wall clock that jumps by %i ms', (jump) => {
    expect(checkClock(samples(0, 0, jump, jump))).toMatchObject({
      verdict: 'warning',
      found: `the wall clock jumped by ${jump} ms while it was watched`
    })
  })

  it('quire doctor warns of a wall clock that was never set', () => {
    expect(checkClock([0, 50].map((at) => ({ monotonic: at, wall: at })))).toMatchObject({
      verdict: 'warning',
      found: 'it says 1970-01-01T00:00:00.050Z'
    })
  })

  it('quire doctor finds a problem in clocks whose rates differ by more than leases allow for', () => {
    expect(checkClock(samples(0, 1, 2, 3, 4))).toMatchObject({
      verdict: 'problem',
      found: 'wall and monotonic clock differ by 2.0 % in their rates'
    })
  })

  it('quire doctor finds a problem in a monotonic clock that goes back or stands still', () => {
    const wall = NOW
    expect(verdictOf(checkClock([5, 4, 6].map((monotonic) => ({ monotonic, wall }))))).toBe('problem')
    expect(verdictOf(checkClock([5, 5, 5].map((monotonic) => ({ monotonic, wall }))))).toBe('problem')
  })

  it('quire doctor shows the median and the worst flush of a disk', () => {
    expect(checkDisk({ folder: '/data', inMemory: false, flushesMs: [3, 1.234, 50] })).toMatchObject({
      verdict: 'ok',
      found: '/data: a flush takes 3.00 ms, 50 ms at worst'
    })
  })

  it('quire doctor warns of a disk whose usual flush is slow', () => {
    expect(checkDisk({ folder: '/data', inMemory: false, flushesMs: [40, 30, 1] })).toMatchObject({
      verdict: 'warning',
      remedy: expect.stringContaining('faster disk') as string
    })
  })

  it('quire doctor warns of a folder in memory, whose flushes make nothing durable', () => {
    expect(checkDisk({ folder: '/dev/shm', inMemory: true, flushesMs: [0] })).toMatchObject({
      verdict: 'warning',
      remedy: 'Choose a data directory on a disk.'
    })
  })

  it.each([
    ['EACCES', 'Give the user that runs the peer write access to the folder.'],
    ['ENOSPC', 'Make room on the disk.'],
    ['EIO', 'Check the disk, or choose another data directory.']
  ])('quire doctor finds a problem in a folder that cannot be written for %s', (failure, remedy) => {
    expect(checkDisk({ folder: '/data', inMemory: false, flushesMs: [], failure })).toEqual({
      check: 'disk',
      verdict: 'problem',
      found: `/data cannot be written (${failure})`,
      remedy
    })
  })

  it.each([
    [undefined, 'ok', '/ip4/0.0.0.0/tcp/1 is free'],
    ['EADDRINUSE', 'problem', '/ip4/0.0.0.0/tcp/1: another program listens there'],
    ['EADDRNOTAVAIL', 'problem', '/ip4/0.0.0.0/tcp/1: this machine does not have the address'],
    ['EACCES', 'problem', '/ip4/0.0.0.0/tcp/1: the system does not permit it'],
    ['EAFNOSUPPORT', 'problem', '/ip4/0.0.0.0/tcp/1: EAFNOSUPPORT']
  ])('quire doctor judges an address to listen on by the outcome %s', (code, verdict, found) => {
    const finding = checkListenAddress('/ip4/0.0.0.0/tcp/1', code)
    expect(finding).toMatchObject({ verdict, found })
    expect(finding.remedy === null).toBe(verdict === 'ok')
  })

  it.each([
    [undefined, 'ok', '…ft9HyQ6X at 192.0.2.1:4001 is there'],
    ['ECONNREFUSED', 'warning', '…ft9HyQ6X at 192.0.2.1:4001: nothing listens'],
    ['ETIMEDOUT', 'problem', '…ft9HyQ6X at 192.0.2.1:4001: no connection (ETIMEDOUT)'],
    ['ENOTFOUND', 'problem', '…ft9HyQ6X at 192.0.2.1:4001: the host name is unknown']
  ])('quire doctor judges the address of a voter by the outcome %s', (code, verdict, found) => {
    const facts = { peerId: PEER, address: '/ip4/192.0.2.1/tcp/4001', ...(code === undefined ? {} : { code }) }
    expect(checkVoterAddress(facts)).toMatchObject({ verdict, found })
  })

  it('quire doctor finds a problem in the address of a voter where another peer is', () => {
    const reason = 'another peer is there: …QDc298L3'
    expect(checkVoterAddress({ peerId: PEER, address: '/ip4/192.0.2.1/tcp/4001', reason })).toMatchObject({
      verdict: 'problem',
      found: `…ft9HyQ6X at 192.0.2.1:4001: ${reason}`
    })
  })

  it('the report of quire doctor fits 80 columns and shows the control characters of a path as escapes', () => {
    const folder = `/${'folder/'.repeat(20)}\u001b[2J`
    const lines = findingLines(checkDisk({ folder, inMemory: false, flushesMs: [], failure: 'EACCES' }))
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80)
    expect(lines[0]).toMatch(/^problem {6}disk {8}\/folder/)
    expect(lines.join('')).not.toContain('\u001b')
  })
})
