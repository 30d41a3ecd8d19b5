import { describe, expect, it } from 'vitest'
import { Lease } from '../src/core/lease.js'

const TTL = 12_000
/** One per cent less: clocks run at different speeds. */
const USABLE = 11_880

function begun(at = 1000): Lease {
  const lease = new Lease()
  lease.begin(at, TTL)
  return lease
}

describe('a lease', () => {
  it('is not valid before it began', () => {
    expect(new Lease().isValid(0)).toBe(false)
  })

  it('counts from the moment when the register was sent, less one per cent for clocks of different speed', () => {
    const lease = begun(1000)
    expect(lease.isValid(1000 + USABLE - 1)).toBe(true)
    expect(lease.isValid(1000 + USABLE)).toBe(false)
  })

  it('counts from the sending of the keep-alive, however late its answer comes', () => {
    const lease = begun(1000)
    const nonce = lease.send(4000)
    lease.answered(nonce)
    expect(lease.isValid(4000 + USABLE - 1)).toBe(true)
    expect(lease.isValid(4000 + USABLE)).toBe(false)
  })

  it('is not prolonged by an answer to an earlier keep-alive', () => {
    const lease = begun(1000)
    const old = lease.send(2000)
    lease.begin(3000, TTL)
    const current = lease.send(6000)
    lease.answered(old)
    expect(lease.isValid(3000 + USABLE)).toBe(false)
    lease.answered(current)
    expect(lease.isValid(6000 + USABLE - 1)).toBe(true)
  })

  it('is not prolonged by an answer that comes twice, nor by one that nobody asked for', () => {
    const lease = begun(1000)
    const nonce = lease.send(2000)
    lease.answered(nonce)
    lease.answered(nonce)
    lease.answered(nonce + 1)
    expect(lease.isValid(2000 + USABLE)).toBe(false)
    // The duplicate did not pass for an answer to what comes next either.
    lease.send(5000)
    lease.answered(nonce)
    expect(lease.vouchedUntil).toBe(2000)
  })

  it('never becomes shorter by beginning again with an older register', () => {
    const lease = begun(5000)
    lease.begin(2000, TTL)
    expect(lease.isValid(5000 + USABLE - 1)).toBe(true)
  })

  it('asks for a keep-alive every quarter of the TTL, answered or not: the leader may have failed to confirm one', () => {
    const lease = begun(1000)
    expect(lease.isDue(1000 + TTL / 4 - 1)).toBe(false)
    expect(lease.isDue(1000 + TTL / 4)).toBe(true)
    const nonce = lease.send(4500)
    expect(lease.isDue(4500 + TTL / 4 - 1)).toBe(false)
    expect(lease.isDue(4500 + TTL / 4)).toBe(true)
    lease.answered(nonce)
    expect(lease.isDue(4500 + TTL / 4 - 1)).toBe(false)
    expect(lease.isDue(4500 + TTL / 4)).toBe(true)
  })

  it('asks out of turn only while no keep-alive is on its way', () => {
    const lease = begun(1000)
    expect(lease.mayAsk(1001)).toBe(true)
    const nonce = lease.send(1001)
    expect(lease.mayAsk(1002)).toBe(false)
    lease.answered(nonce)
    expect(lease.mayAsk(1002)).toBe(true)
  })

  it('is prolonged by a late answer from the moment when that keep-alive was sent, while newer ones are on their way', () => {
    const lease = begun(1000)
    const slow = lease.send(4000)
    lease.send(7000)
    const newest = lease.send(10_000)
    lease.answered(slow)
    expect(lease.isValid(4000 + USABLE - 1)).toBe(true)
    expect(lease.isValid(4000 + USABLE)).toBe(false)
    lease.answered(newest)
    expect(lease.isValid(10_000 + USABLE - 1)).toBe(true)
  })

  it('remembers as many keep-alives as could still prolong it', () => {
    const lease = begun(1000)
    const nonces = [2000, 5000, 8000, 11_000, 14_000].map((at) => lease.send(at))
    lease.answered(nonces[0]!)
    expect(lease.vouchedUntil).toBe(1000)
    lease.answered(nonces[1]!)
    expect(lease.vouchedUntil).toBe(5000)
  })
})
