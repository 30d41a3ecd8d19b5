import type { RaftIntroduction, RaftSighting } from '@quire/protocol'
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
    joined: false,
    revision: 0,
    admitted: true,
    term: 3,
    lastTerm: 3,
    lastIndex: 100,
    ...change
  }
}

/** A book that has met process p5 of boot 5 of b, which has acknowledged entry 100 of term 3. */
function book(): EvidenceBook {
  const evidence = new EvidenceBook()
  evidence.met(hello())
  evidence.committed('b', 3, 100)
  return evidence
}

/** The sighting of b in that book. */
const sighting = (): RaftSighting => book().sightings()[0]!

const restarted = (change: Partial<RaftIntroduction> = {}): RaftIntroduction =>
  hello({ boot: 6, process: 'p6', ...change })

describe('evidence', () => {
  it('no evidence counts against a peer that is met for the first time', () => {
    expect(new EvidenceBook().refusal(hello())).toBeUndefined()
  })

  it('a peer that comes back with everything that it acknowledged is accepted', () => {
    expect(book().refusal(restarted())).toBeUndefined()
    expect(book().refusal(restarted({ lastIndex: 250 }))).toBeUndefined()
    expect(book().refusal(restarted({ lastTerm: 4, lastIndex: 90 }))).toBeUndefined()
  })

  it('a folder is refused if it lacks a committed entry which the peer acknowledged', () => {
    expect(book().refusal(restarted({ lastIndex: 99 }))).toContain('acknowledged entry 100 of term 3')
  })

  it('evidence compares the ends of logs by term first: a longer log with an older last term is behind (§5.4.1)', () => {
    expect(book().refusal(restarted({ lastTerm: 2, lastIndex: 400 }))).toContain('its log ends at entry 400 of term 2')
  })

  it('a peer refuses another whose boot is lower than one that it has seen', () => {
    expect(book().refusal(hello({ boot: 4, process: 'p4' }))).toContain('at boot 4, but was at boot 5 before')
  })

  it('a peer refuses a second process with the same boot', () => {
    expect(book().refusal(hello({ process: 'twin' }))).toContain('another process has used boot 5')
    expect(book().refusal(hello())).toBeUndefined()
  })

  it('a peer refuses another folder under an old key, even one that was never admitted', () => {
    expect(book().refusal(restarted({ incarnation: 'empty', admitted: false, boot: 1, lastIndex: 1 }))).toContain(
      'it runs on data directory empty, and had '
    )
  })

  it('evidence about a founding directory does not count against one with which the peer joined later', () => {
    const evidence = book()
    const next = hello({
      joined: true,
      incarnation: 'new folder',
      boot: 1,
      process: 'p1',
      term: 0,
      lastTerm: 0,
      lastIndex: 0
    })
    expect(evidence.refusal(next)).toBeUndefined()
    evidence.met(next)
    expect(evidence.sightings().map(({ member }) => member)).toEqual(['b', 'b/new folder'])
    expect(evidence.isCurrent('b/new folder', next)).toBe(true)
    expect(evidence.isCurrent('b', hello())).toBe(true)
    expect(evidence.refusal({ ...next, process: 'twin' })).toContain('another process has used boot 1')
  })

  it('evidence does not compare logs within one process, because acknowledgments may overtake a hello', () => {
    expect(book().refusal(hello({ lastIndex: 40 }))).toBeUndefined()
  })

  it('a peer refuses a folder of an earlier term, because it may lack a vote that no log shows', () => {
    expect(book().refusal(restarted({ term: 3 }))).toBeUndefined()
    const evidence = book()
    evidence.learn({ ...sighting(), term: 4 })
    expect(evidence.refusal(restarted({ term: 3 }))).toContain('it is in term 3, but was in term 4 before')
    expect(evidence.refusal(restarted({ term: 4 }))).toBeUndefined()
  })

  it('evidence of earlier processes counts against a process that was accepted before the evidence was known', () => {
    const evidence = new EvidenceBook()
    evidence.met(hello({ lastIndex: 10 }))
    const older = restarted({ lastIndex: 10 })
    evidence.met(older)
    expect(evidence.isCurrent('b', older)).toBe(true)
    evidence.learn(sighting())
    expect(evidence.isCurrent('b', older)).toBe(false)
    expect(evidence.refusal(older)).toContain('acknowledged entry 100 of term 3')
    expect(evidence.refusal(hello({ boot: 7, process: 'p7' }))).toBeUndefined()
  })

  it('evidence is not overruled by a peer that accepted the older folder without knowing the evidence', () => {
    const evidence = book()
    const older = restarted({ lastIndex: 10 })
    expect(evidence.refusal(older)).toBeDefined()
    evidence.learn({ ...sighting(), boot: 6, process: 'p6', lastIndex: 10 })
    expect(evidence.refusal(older)).toContain('acknowledged entry 100 of term 3')
    const third = new EvidenceBook()
    third.met(older)
    for (const each of evidence.sightings()) third.learn(each)
    expect(third.isCurrent('b', older)).toBe(false)
  })

  it('evidence of a process does not count against that process itself, in whatever order its messages arrive', () => {
    const evidence = book()
    const next = restarted({ lastIndex: 100 })
    evidence.met(next)
    evidence.committed('b', 3, 170)
    expect(evidence.isCurrent('b', next)).toBe(true)
    evidence.learn({ ...sighting(), boot: 6, process: 'p6', lastIndex: 180 })
    evidence.learn({ ...sighting(), lastIndex: 90 })
    expect(evidence.isCurrent('b', next)).toBe(true)
    expect(evidence.refusal(next)).toBeUndefined()
    expect(evidence.refusal(hello({ boot: 7, process: 'p7', lastIndex: 179 }))).toContain('acknowledged entry 180')
  })

  it('a peer records committed entries only of a peer that it has met', () => {
    const evidence = new EvidenceBook()
    evidence.committed('b', 3, 100)
    expect(evidence.sightings()).toEqual([])
  })

  it('evidence never goes back, even if an old acknowledgment arrives late', () => {
    const evidence = book()
    evidence.committed('b', 3, 50)
    evidence.committed('b', 2, 400)
    expect(evidence.sightings()).toMatchObject([{ lastTerm: 3, lastIndex: 100 }])
  })

  it('evidence is the same after it was stored and read', () => {
    const evidence = new EvidenceBook(book().sightings())
    expect(evidence.refusal(restarted({ lastIndex: 99 }))).toBeDefined()
    expect(evidence.refusal(restarted())).toBeUndefined()
  })

  it('evidence reaches a peer that has never led, through the others', () => {
    const follower = new EvidenceBook()
    follower.met(hello())
    for (const sighting of book().sightings()) follower.learn(sighting)
    expect(follower.refusal(restarted({ lastIndex: 99 }))).toBeDefined()
  })

  it('evidence about a peer reaches another that has never met it', () => {
    const stranger = new EvidenceBook()
    for (const sighting of book().sightings()) stranger.learn(sighting)
    expect(stranger.refusal(restarted({ incarnation: 'empty', boot: 1, lastIndex: 1 }))).toBeDefined()
  })

  it('two processes with one boot are both refused if two peers have each met one of them', () => {
    const evidence = book()
    evidence.learn({ ...sighting(), process: 'twin' })
    expect(evidence.refusal(hello())).toContain('another process has used boot 5')
    expect(evidence.refusal(hello({ process: 'twin' }))).toContain('another process has used boot 5')
    expect(evidence.isCurrent('b', hello())).toBe(false)
    expect(evidence.refusal(restarted())).toBeUndefined()
  })

  it('a peer drops the older process of another when it learns of a newer boot', () => {
    const evidence = book()
    evidence.learn({ ...sighting(), boot: 6, process: 'p6' })
    expect(evidence.isCurrent('b', hello())).toBe(false)
    expect(evidence.refusal(hello())).toContain('at boot 5, but was at boot 6 before')
  })

  it('a peer that learns of two incarnations accepts the one that took part', () => {
    const evidence = new EvidenceBook()
    evidence.met(hello({ incarnation: 'empty', boot: 1, process: 'q1', admitted: false, lastIndex: 1 }))
    for (const sighting of book().sightings()) evidence.learn(sighting)
    expect(evidence.isCurrent('b', hello({ incarnation: 'empty', boot: 1, process: 'q1' }))).toBe(false)
    const admitted = book()
    for (const incarnation of ['empty', 'newer']) admitted.learn({ ...sighting(), incarnation, admitted: false })
    expect(admitted.refusal(restarted())).toBeUndefined()
  })

  const made = (at: number, change: Partial<RaftIntroduction> = {}): RaftIntroduction =>
    hello({ incarnation: `made at ${at}`, boot: 1, process: `p${at}`, admitted: false, lastIndex: 1, ...change })

  it('a newer folder is accepted in place of one that never took part, in the same order on every peer', () => {
    const [first, second] = [new EvidenceBook(), new EvidenceBook()]
    first.met(made(1))
    expect(first.refusal(made(2))).toBeUndefined()
    first.met(made(2))
    second.met(made(2))
    for (const each of [first, second]) {
      expect(each.refusal(made(1))).toContain('which was made later: start the newer one')
      expect(each.refusal(made(1, { admitted: true }))).toBeDefined()
    }
    second.learn({ ...first.sightings()[0]!, incarnation: 'made at 3', process: 'p3' })
    expect(second.isCurrent('b', made(2))).toBe(false)
    second.learn(first.sightings()[0]!)
    expect(second.refusal(made(3))).toBeUndefined()
  })

  it('no other folder is accepted after one that took part', () => {
    const evidence = new EvidenceBook()
    evidence.met(made(1))
    evidence.tookPart('b')
    expect(evidence.refusal(made(2))).toContain(
      'stop it and put the newest directory back; if that is lost, start it with --rejoin founder'
    )
    const late = new EvidenceBook()
    late.met(made(2))
    late.learn(evidence.sightings()[0]!)
    expect(late.refusal(made(2))).toContain(
      'stop it and put the newest directory back; if that is lost, start it with --rejoin founder'
    )
  })
})

describe('admission', () => {
  const founders = ['a', 'b', 'c']

  it('admission is given when every other founder has accepted the folder and has only the founding entry', () => {
    const admission = new Admission('a', founders, false)
    admission.acceptedBy(hello({ from: 'b', lastIndex: 1 }))
    expect([admission.isAdmitted, admission.missing]).toEqual([false, ['c']])
    admission.acceptedBy(hello({ from: 'c', lastIndex: 1 }))
    expect([admission.isAdmitted, admission.missing]).toEqual([true, []])
  })

  it('admission is not given by a founder that has more than the founding entry', () => {
    const admission = new Admission('a', founders, false)
    admission.acceptedBy(hello({ from: 'b', lastIndex: 2 }))
    admission.acceptedBy(hello({ from: 'c', lastIndex: 1 }))
    expect(admission.missing).toEqual(['b'])
  })

  it('admission is given by a leader, whatever the founders say', () => {
    const admission = new Admission('a', founders, false)
    admission.admittedByLeader()
    expect(admission.isAdmitted).toBe(true)
  })

  it('admission is remembered, and is given at once in a cluster of one', () => {
    expect(new Admission('a', founders, true).isAdmitted).toBe(true)
    expect(new Admission('a', ['a'], false).isAdmitted).toBe(true)
  })
})
