import { describe, expect, it } from 'vitest'
import { Lease } from '../src/core/lease.js'

const TTL = 12_000
/** The TTL less 1%, because clocks run at different speeds. */
const USABLE = 11_880

function begun(at = 1000): Lease {
  const lease = new Lease()
  lease.begin(at, TTL)
  return lease
}

describe('a lease', () => {
  it('a lease is not valid before it begins', () => {
    expect(new Lease().isValid(0)).toBe(false)
  })

  it('a lease lasts for its TTL from the sending of register, less 1% for clock drift', () => {
    const lease = begun(1000)
    expect(lease.isValid(1000 + USABLE - 1)).toBe(true)
    expect(lease.isValid(1000 + USABLE)).toBe(false)
  })

  it('a lease lasts for its TTL from the sending of the keep-alive, however late the answer arrives', () => {
    const lease = begun(1000)
    const nonce = lease.send(4000)
    lease.answered(nonce)
    expect(lease.isValid(4000 + USABLE - 1)).toBe(true)
    expect(lease.isValid(4000 + USABLE)).toBe(false)
  })

  it('a lease is not extended by the answer to a keep-alive from before its last start', () => {
    const lease = begun(1000)
    const old = lease.send(2000)
    lease.begin(3000, TTL)
    const current = lease.send(6000)
    lease.answered(old)
    expect(lease.isValid(3000 + USABLE)).toBe(false)
    lease.answered(current)
    expect(lease.isValid(6000 + USABLE - 1)).toBe(true)
  })

  it('a lease is not extended by a repeated answer or by an answer without a keep-alive', () => {
    const lease = begun(1000)
    const nonce = lease.send(2000)
    lease.answered(nonce)
    lease.answered(nonce)
    lease.answered(nonce + 1)
    expect(lease.isValid(2000 + USABLE)).toBe(false)
    // The duplicate is no answer to the next keep-alive either.
    lease.send(5000)
    lease.answered(nonce)
    expect(lease.vouchedUntil).toBe(2000)
  })

  it('a lease does not become shorter when it begins again with an older register', () => {
    const lease = begun(5000)
    lease.begin(2000, TTL)
    expect(lease.isValid(5000 + USABLE - 1)).toBe(true)
  })

  it('a lease asks for a keep-alive every quarter of the TTL, even while earlier ones are unanswered', () => {
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

  it('a lease asks ahead of schedule only while no keep-alive is in flight', () => {
    const lease = begun(1000)
    expect(lease.mayAsk(1001)).toBe(true)
    const nonce = lease.send(1001)
    expect(lease.mayAsk(1002)).toBe(false)
    lease.answered(nonce)
    expect(lease.mayAsk(1002)).toBe(true)
  })

  it('a lease is extended by a late answer from the sending of its keep-alive, while newer ones are in flight', () => {
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

  it('a lease remembers the keep-alives that can still extend it', () => {
    const lease = begun(1000)
    const nonces = [2000, 5000, 8000, 11_000, 14_000].map((at) => lease.send(at))
    lease.answered(nonces[0]!)
    expect(lease.vouchedUntil).toBe(1000)
    lease.answered(nonces[1]!)
    expect(lease.vouchedUntil).toBe(5000)
  })
})
