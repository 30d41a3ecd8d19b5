import type { RaftIntroduction } from '@quire/protocol'
import { FEATURES, PROTOCOL_VERSION } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { Admission } from '../src/peer/admission.js'
import { EvidenceBook } from '../src/peer/evidence.js'

function hello(change: Partial<RaftIntroduction> = {}): RaftIntroduction {
  return {
    version: PROTOCOL_VERSION,
    features: FEATURES,
    clusterId: 'blue',
    founding: '',
    from: 'b',
    addresses: [],
    incarnation: 'folder',
    boot: 5,
    process: 'p5',
    admitted: true,
    term: 3,
    lastTerm: 3,
    lastIndex: 100,
    ...change
  }
}

/** A book that has met process p5 of boot 5, which has acknowledged entry 100 of term 3. */
function book(): EvidenceBook {
  const evidence = new EvidenceBook()
  evidence.met(hello())
  evidence.committed('b', 3, 100)
  return evidence
}

const restarted = (change: Partial<RaftIntroduction> = {}): RaftIntroduction =>
  hello({ boot: 6, process: 'p6', ...change })

describe('evidence', () => {
  it('speaks against nobody who is met for the first time', () => {
    expect(new EvidenceBook().refusal(hello())).toBeUndefined()
  })

  it('lets a peer come back with everything that it acknowledged', () => {
    expect(book().refusal(restarted())).toBeUndefined()
    expect(book().refusal(restarted({ lastIndex: 250 }))).toBeUndefined()
    expect(book().refusal(restarted({ lastTerm: 4, lastIndex: 90 }))).toBeUndefined()
  })

  it('refuses a folder that lacks a committed entry which the peer acknowledged', () => {
    expect(book().refusal(restarted({ lastIndex: 99 }))).toContain('acknowledged entry 100 of term 3')
  })

  it('compares the ends of logs by term first: a longer log of an older term is behind', () => {
    expect(book().refusal(restarted({ lastTerm: 2, lastIndex: 400 }))).toContain('its log ends at entry 400 of term 2')
  })

  it('refuses a boot that is lower than the one that it has seen', () => {
    expect(book().refusal(hello({ boot: 4, process: 'p4' }))).toContain('at boot 4, but was at boot 5 before')
  })

  it('refuses a second process with the same boot: a twin', () => {
    expect(book().refusal(hello({ process: 'twin' }))).toContain('another process has used boot 5')
    expect(book().refusal(hello())).toBeUndefined()
  })

  it('refuses another folder under an old key, even one that was never admitted', () => {
    expect(book().refusal(restarted({ incarnation: 'empty', admitted: false, boot: 1, lastIndex: 1 }))).toContain(
      'not the one that it had before'
    )
  })

  it('does not compare the log within one process: acknowledgments may overtake a hello', () => {
    expect(book().refusal(hello({ lastIndex: 40 }))).toBeUndefined()
  })

  it('takes what is committed from a peer that it has met only', () => {
    const evidence = new EvidenceBook()
    evidence.committed('b', 3, 100)
    expect(evidence.sightings()).toEqual([])
  })

  it('never goes back, whatever late acknowledgment comes', () => {
    const evidence = book()
    evidence.committed('b', 3, 50)
    evidence.committed('b', 2, 400)
    expect(evidence.sightings()).toMatchObject([{ lastTerm: 3, lastIndex: 100 }])
  })

  it('survives as it is written down', () => {
    const evidence = new EvidenceBook(book().sightings())
    expect(evidence.refusal(restarted({ lastIndex: 99 }))).toBeDefined()
    expect(evidence.refusal(restarted())).toBeUndefined()
  })

  it('reaches a peer that has never led: it learns what others have seen', () => {
    const follower = new EvidenceBook()
    follower.met(hello())
    for (const sighting of book().sightings()) follower.learn(sighting)
    expect(follower.refusal(restarted({ lastIndex: 99 }))).toBeDefined()
  })

  it('reaches a peer that has never met the other one', () => {
    const stranger = new EvidenceBook()
    for (const sighting of book().sightings()) stranger.learn(sighting)
    expect(stranger.refusal(restarted({ incarnation: 'empty', boot: 1, lastIndex: 1 }))).toBeDefined()
  })

  it('refuses both of two processes with one boot when two peers have each met one of them', () => {
    const evidence = book()
    evidence.learn({ ...book().sightings()[0]!, process: 'twin' })
    expect(evidence.refusal(hello())).toContain('another process has used boot 5')
    expect(evidence.refusal(hello({ process: 'twin' }))).toContain('another process has used boot 5')
    expect(evidence.isCurrent('b', hello())).toBe(false)
    expect(evidence.refusal(restarted())).toBeUndefined()
  })

  it('drops the older process when it hears of a newer boot', () => {
    const evidence = book()
    evidence.learn({ ...book().sightings()[0]!, boot: 6, process: 'p6' })
    expect(evidence.isCurrent('b', hello())).toBe(false)
    expect(evidence.refusal(hello())).toContain('at boot 5, but was at boot 6 before')
  })

  it('believes in the incarnation that took part when it hears of two', () => {
    const evidence = new EvidenceBook()
    evidence.met(hello({ incarnation: 'empty', boot: 1, process: 'q1', admitted: false, lastIndex: 1 }))
    for (const sighting of book().sightings()) evidence.learn(sighting)
    expect(evidence.isCurrent('b', { incarnation: 'empty', boot: 1, process: 'q1' })).toBe(false)
    const admitted = book()
    admitted.learn({ ...book().sightings()[0]!, incarnation: 'empty', admitted: false })
    expect(admitted.refusal(restarted())).toBeUndefined()
  })
})

describe('admission', () => {
  const founders = ['a', 'b', 'c']

  it('comes when every other founder has accepted the folder and has nothing but the founding entry', () => {
    const admission = new Admission('a', founders, false)
    admission.acceptedBy(hello({ from: 'b', lastIndex: 1 }))
    expect([admission.isAdmitted, admission.missing]).toEqual([false, ['c']])
    admission.acceptedBy(hello({ from: 'c', lastIndex: 1 }))
    expect([admission.isAdmitted, admission.missing]).toEqual([true, []])
  })

  it('does not come from a founder that has more than the founding entry', () => {
    const admission = new Admission('a', founders, false)
    admission.acceptedBy(hello({ from: 'b', lastIndex: 2 }))
    admission.acceptedBy(hello({ from: 'c', lastIndex: 1 }))
    expect(admission.missing).toEqual(['b'])
  })

  it('comes from a leader, whatever the founders say', () => {
    const admission = new Admission('a', founders, false)
    admission.admittedByLeader()
    expect(admission.isAdmitted).toBe(true)
  })

  it('is remembered, and comes at once to a cluster of one', () => {
    expect(new Admission('a', founders, true).isAdmitted).toBe(true)
    expect(new Admission('a', ['a'], false).isAdmitted).toBe(true)
  })
})
