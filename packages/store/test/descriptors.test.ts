/** How a peer derives its limits of connections from the limit of open files. */
import { closeSync, openSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { descriptors, limitConnections, RESERVED_DESCRIPTORS } from '../src/peer/descriptors.js'

const WANTED = { maxConnections: 2048, maxPendingConnections: 256 }

describe('limits of connections', () => {
  it('the limits of connections leave the reserve free, whatever the limit of open files is', () => {
    for (let limit = 100; limit < 4000; limit += 7) {
      const { maxConnections, maxPendingConnections } = limitConnections({ limit, open: 20 }, WANTED)
      expect(20 + maxConnections + maxPendingConnections + RESERVED_DESCRIPTORS).toBeLessThanOrEqual(limit)
      expect(maxPendingConnections).toBeGreaterThanOrEqual(4)
      expect(maxConnections).toBeGreaterThanOrEqual(12)
    }
  })

  it('the limits of connections are the wanted ones if there is room or no limit', () => {
    expect(limitConnections({ limit: 65_536, open: 20 }, WANTED)).toEqual(WANTED)
    expect(limitConnections({ limit: Infinity, open: 20 }, WANTED)).toEqual(WANTED)
  })

  it('limitConnections throws if a peer has no room, and the error names both numbers', () => {
    expect(() => limitConnections({ limit: 64, open: 20 }, WANTED)).toThrow(
      'the limit of open files is 64, a peer needs 100 at least: raise it (ulimit -n)'
    )
  })

  it('descriptors counts the open files of this process against its limit', () => {
    const { limit, open } = descriptors()
    expect(limit).toBeGreaterThan(open)
    const held = Array.from({ length: 10 }, () => openSync('/dev/null', 'r'))
    expect(descriptors()).toEqual({ limit, open: open + 10 })
    for (const fd of held) closeSync(fd)
    expect(descriptors()).toEqual({ limit, open })
  })
})
