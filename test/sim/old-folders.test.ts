import type { RaftSighting } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { remembersMore } from './src/cluster/old-folders.js'
import type { Folder } from './src/cluster/folder.js'

describe('folders that are put back', () => {
  const folder = { identity: { incarnation: 'new' }, last: { term: 0, index: 0 } } as unknown as Folder
  const sighting = { incarnation: 'old', lastTerm: 0, lastIndex: 0 }

  it('a folder that is put back must be refused if another incarnation of its peer takes part', () => {
    expect(remembersMore({ ...sighting, admitted: true } as RaftSighting, folder)).toBe(true)
  })

  it('a folder that is put back may take part if the other incarnation of its peer never took part (seed 1128511203)', () => {
    expect(remembersMore({ ...sighting, admitted: false } as RaftSighting, folder)).toBe(false)
  })
})
