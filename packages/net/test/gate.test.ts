import { describe, expect, it } from 'vitest'
import { createGate } from '../src/portable/gate.js'
import { recorder } from './helpers.js'

describe('the gate', () => {
  it('the gate remembers a bounded number of refused peers, and logs a forgotten one again', () => {
    const { logger, warnings } = recorder()
    let nowMs = 0
    const gate = createGate(
      () => 'no',
      logger,
      () => (nowMs += 2000)
    )
    for (let round = 0; round < 2; round++) gate.check('first', 'inbound')
    expect(warnings).toHaveLength(1)
    for (let index = 0; index < 1024; index++) gate.check(`peer ${index}`, 'inbound')
    gate.check('first', 'inbound')
    expect(warnings).toHaveLength(1026)
  })

  it('the gate logs 32 refusals a minute, even under different keys, and later the number of those held back', () => {
    const { logger, warnings } = recorder()
    let nowMs = 0
    const gate = createGate(
      () => 'no',
      logger,
      () => nowMs
    )
    for (let index = 0; index < 3000; index++) gate.check(`peer ${index}`, 'inbound')
    expect(warnings).toHaveLength(32)
    nowMs = 60_000
    gate.check('peer 2999', 'inbound')
    expect(warnings.slice(32)).toMatchObject([{ refusals: 2968 }, { peer: 'peer 2999' }])
  })

  it('the gate refuses a peer if the check fails', () => {
    const gate = createGate(() => {
      throw new Error('broken')
    })
    expect(gate.check('peer', 'inbound')).toBe('the check failed: broken')
  })
})
