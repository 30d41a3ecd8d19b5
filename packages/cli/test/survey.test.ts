import { InvalidArgumentError, NotAuthorizedError, type ComparisonOutcome } from '@quire/protocol'
import { shortId } from '@quire/net'
import { describe, expect, it } from 'vitest'
import type { Answered, StatusAnswer } from '../src/probe.js'
import { healthLine, statusLines } from '../src/status.js'
import { judge, takeSurvey, type Survey } from '../src/survey.js'

const IDS = [
  '12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X',
  '12D3KooWH3uVF6wv47WnArKHk5p6cvgCJEb74UTmxztmQDc298L3',
  '12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo'
] as const
const SELF = '12D3KooWLemdri1zNbMBuemEyHQtd4crNYGMbVoguXNvzSdLNacz'
const TIMEOUT_MS = 5000
const [BLUE, GREEN] = ['b0'.repeat(32), '9e'.repeat(32)] as const

const SHORT_GREEN = '9e9e9e9e9e9e…'

const addressOf = (id: string, port = 1): string => `/ip4/192.0.2.1/tcp/${port}/p2p/${id}`
const members = IDS.map((peerId) => ({ peerId, addresses: [addressOf(peerId)] }))

function answer(id: string, fields: Partial<StatusAnswer> = {}): StatusAnswer {
  return {
    type: 'status',
    seq: 1,
    clusterId: 'blue',
    founding: BLUE,
    id,
    role: id === IDS[0] ? 'leader' : 'follower',
    term: 3,
    leader: IDS[0],
    lastIndex: 10,
    commitIndex: 10,
    appliedIndex: 10,
    voters: members,
    learners: [],
    sessions: 0,
    ownedPages: 0,
    room: 'enough',
    disk: undefined,
    store: undefined,
    repairs: { damaged: 0, repaired: 0, lost: 0 },
    sending: [],
    receiving: undefined,
    scrub: { comparison: undefined, damagedPages: 0, damagedRecords: 0 },
    roundTripMs: 32,
    admitted: true,
    quarantined: [],
    stages: [],
    ...fields
  }
}

/** Surveys peers that answer as `answers` says. The others refuse the connection. */
async function survey(
  answers: Partial<Record<string, Partial<StatusAnswer>>>,
  { given = [addressOf(IDS[0])], self = SELF, founding }: { given?: string[]; self?: string; founding?: string } = {}
): Promise<{ result: Survey; asked: string[] }> {
  const asked: string[] = []
  const ask = (id: string, addresses: readonly string[]): Promise<Answered> => {
    asked.push(`${IDS.indexOf(id as (typeof IDS)[number])} at ${addresses.map((each) => each.split('/')[4]).join()}`)
    const fields = answers[id]
    return fields === undefined
      ? Promise.reject(new Error('refused'))
      : Promise.resolve({ answer: answer(id, fields), address: addresses.at(-1)! })
  }
  const reasonOf = ({ message }: Error): string => `because: ${message}`
  const result = await takeSurvey({ given, self, ask, reasonOf, founding, timeoutMs: TIMEOUT_MS, now: () => 0 })
  return { result, asked }
}

describe('a survey', () => {
  it('a survey asks every voter that an answering peer names, not only the given addresses', async () => {
    const { result, asked } = await survey({ [IDS[0]]: {}, [IDS[1]]: {}, [IDS[2]]: {} })
    expect(asked).toEqual(['0 at 1', '1 at 1', '2 at 1'])
    expect(result).toMatchObject({ voters: 3, answering: 3, following: 3, quorum: 2, problem: undefined })
  })

  it('a survey finds the voters through any peer that answers', async () => {
    const given = [addressOf(IDS[2]), addressOf(IDS[0])]
    const { result } = await survey({ [IDS[0]]: {}, [IDS[1]]: {} }, { given })
    expect(result.peers.map(({ id, reason }) => [id, reason])).toEqual([
      [IDS[2], 'because: refused'],
      [IDS[0], undefined],
      [IDS[1], undefined]
    ])
    expect(result.problem).toBeUndefined()
  })

  it('a survey asks a peer again at an address that other peers name', async () => {
    const { asked } = await survey({ [IDS[1]]: {} }, { given: [addressOf(IDS[0], 9), addressOf(IDS[1])] })
    expect(asked).toEqual(['0 at 9', '1 at 1', '2 at 1', '0 at 9,1'])
  })

  it('a survey puts the address at which a peer answered before its other addresses', async () => {
    const places = [9, 1].map((port) => addressOf(IDS[0], port))
    const voters = [{ peerId: IDS[0], addresses: places }, ...members.slice(1)]
    // `ask` answers at the last address that it is given.
    const { result, asked } = await survey({ [IDS[0]]: {}, [IDS[1]]: { voters } }, { given: [addressOf(IDS[1])] })
    expect(asked).toContain('0 at 9,1')
    expect(result.peers.find(({ id }) => id === IDS[0])!.addresses).toEqual(places.toReversed())
    expect(statusLines(result).join('\n')).toMatch(/…ft9HyQ6X +leader .* 192\.0\.2\.1:1$/m)
  })

  it('a survey ends within twice the limit for one peer, even if each peer names the next', async () => {
    let time = 0
    const chain = IDS.map((peerId) => ({ peerId, addresses: [addressOf(peerId)] }))
    const limits: number[] = []
    await takeSurvey({
      given: [addressOf(IDS[0])],
      self: SELF,
      ask: (id, [address = ''], timeoutMs) => {
        limits.push(timeoutMs)
        time += Math.min(4000, timeoutMs)
        const next = chain.slice(0, chain.findIndex(({ peerId }) => peerId === id) + 2)
        return Promise.resolve({ answer: answer(id, { voters: next }), address })
      },
      reasonOf: String,
      timeoutMs: TIMEOUT_MS,
      now: () => time
    })
    expect(limits).toEqual([5000, 5000, 2000])
  })

  it('a survey finds no leader when only one candidate of three voters answers', async () => {
    const { result } = await survey({ [IDS[1]]: { role: 'candidate', leader: '' } }, { given: [addressOf(IDS[1])] })
    expect(result.problem).toBe('no leader: 1 of 3 voters answer, 2 are needed')
    expect(result.leader).toBeUndefined()
  })

  it('a survey says that no peer leads although a majority answers', async () => {
    const lost = { role: 'follower', leader: '' } as const
    const { result } = await survey({ [IDS[0]]: lost, [IDS[1]]: lost })
    expect(result.problem).toBe('no leader: 2 of 3 voters answer, none leads')
  })

  it('a survey names the voters that the first election still waits for, with their addresses', async () => {
    const fresh = { role: 'follower', leader: '', term: 0, admitted: false } as const
    expect((await survey({ [IDS[0]]: fresh, [IDS[1]]: fresh })).result.problem).toBe(
      'no leader yet: the first election needs all 3 voters, 2 answer (start …kSCVe2Xo at 192.0.2.1:1)'
    )
    expect((await survey({ [IDS[0]]: fresh, [IDS[1]]: { ...fresh, founding: GREEN } })).result.problem).toBe(
      'no leader yet: the first election needs all 3 voters, 1 answers (…QDc298L3 at 192.0.2.1:1: it belongs to ' +
        `cluster blue, founded as ${SHORT_GREEN}; start …kSCVe2Xo at 192.0.2.1:1)`
    )
    expect((await survey({ [IDS[0]]: fresh, [IDS[1]]: fresh, [IDS[2]]: fresh })).result.problem).toBe(
      'no leader yet: all 3 voters answer, but not all have met each other'
    )
  })

  it('a survey does not count a new peer toward a majority that could elect a leader', async () => {
    const lost = { role: 'candidate', leader: '' } as const
    const { result } = await survey({ [IDS[0]]: lost, [IDS[1]]: { role: 'follower', leader: '', admitted: false } })
    expect(result.problem).toBe('no leader: 2 of 3 voters answer, but 1 is new and takes no part yet; 2 are needed')
  })

  it('a survey finds no quorum for a leader that no other voter follows, also if the others are in another term', async () => {
    const problem = 'no quorum: 1 of 3 voters follow …ft9HyQ6X, 2 are needed'
    expect((await survey({ [IDS[0]]: {} })).result.problem).toBe(problem)
    const moved = { term: 4, leader: IDS[2] }
    expect((await survey({ [IDS[0]]: { term: 5 }, [IDS[1]]: moved, [IDS[2]]: moved })).result.problem).toBe(problem)
  })

  it('a survey says that no writes are possible when too few followers have room for them', async () => {
    const full = { room: 'none' } as const
    const alone = await survey({ [IDS[0]]: {}, [IDS[1]]: full })
    const problem = `no writes: 1 of 3 voters can store them, 2 are needed; no room at ${shortId(IDS[1])}`
    expect(alone.result).toMatchObject({ following: 2, problem })
    expect((await survey({ [IDS[0]]: {}, [IDS[1]]: full, [IDS[2]]: {} })).result.problem).toBeUndefined()
    // A follower stores entries until the last of its space is used up.
    expect((await survey({ [IDS[0]]: {}, [IDS[1]]: { room: 'little' } })).result.problem).toBeUndefined()
    const leading = await survey({ [IDS[0]]: { room: 'little' }, [IDS[1]]: {}, [IDS[2]]: {} })
    expect(leading.result.problem).toBe(`no writes: no room at ${shortId(IDS[0])}, which leads`)
  })

  it('a survey takes the peer with the newer term when two peers say that they lead', async () => {
    const followers = { term: 4, leader: IDS[1] }
    const { result } = await survey({ [IDS[0]]: {}, [IDS[1]]: { ...followers, role: 'leader' }, [IDS[2]]: followers })
    expect(result).toMatchObject({ leader: { id: IDS[1], term: 4 }, following: 2, problem: undefined })
  })

  it('a survey does not count a learner as a voter', async () => {
    const split = { voters: members.slice(0, 2), learners: members.slice(2) }
    const { result } = await survey({ [IDS[0]]: split, [IDS[2]]: { ...split, role: 'learner' } })
    expect(result).toMatchObject({ voters: 2, answering: 1, following: 1, quorum: 2 })
    expect(result.problem).toContain('no quorum')
  })

  it('a survey does not count a voter that has lost its data directory and catches up with a new one', async () => {
    const fourth = '12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5'
    const voters = [...members, { peerId: fourth, addresses: [addressOf(fourth)] }]
    const learners = [members[1]!]
    const config = { voters, learners }
    const answers = { [IDS[0]]: config, [IDS[1]]: { voters: [], learners: [] }, [IDS[2]]: config }
    const { result } = await survey(answers)
    expect(result).toMatchObject({ voters: 4, answering: 2, following: 2, quorum: 3, replacing: [IDS[1]] })
    expect(result.problem).toContain('no quorum: 2 of 4 voters follow')
    const three = { voters: members, learners }
    const { result: healthy } = await survey({ ...answers, [IDS[0]]: three, [IDS[2]]: three })
    expect(healthLine(healthy)).toBe(
      `healthy: leader ${shortId(IDS[0])} in term 3, 2 of 3 voters follow it` +
        ` (${shortId(IDS[1])} catches up with a new data directory)`
    )
    const { result: leaderless } = await survey({
      [IDS[0]]: { ...three, role: 'candidate', leader: '' },
      [IDS[1]]: { voters: [], learners: [], leader: '' }
    })
    expect(leaderless.problem).toBe('no leader: 1 of 3 voters answer, 2 are needed')
  })

  it('a survey says that no peer answers, or that a peer belongs to another cluster', async () => {
    const problem = 'no peer answers; unreachable: …ft9HyQ6X at 192.0.2.1:1 (because: refused)'
    expect((await survey({})).result).toMatchObject({ problem, clusterId: '', voters: 0 })
    const { result } = await survey({ [IDS[0]]: {}, [IDS[1]]: { clusterId: 'green', founding: GREEN }, [IDS[2]]: {} })
    expect(result.peers.find(({ id }) => id === IDS[1])?.reason).toBe('it belongs to cluster green')
    expect(result).toMatchObject({ answering: 2, problem: undefined })
  })

  it('a survey tells clusters with the same id apart by their founding digest', async () => {
    const { result } = await survey({ [IDS[0]]: {}, [IDS[1]]: { founding: GREEN }, [IDS[2]]: {} })
    expect(result).toMatchObject({ founding: BLUE, answering: 2, problem: undefined })
    const other = result.peers.find(({ id }) => id === IDS[1])
    expect(other?.reason).toBe(`it belongs to cluster blue, founded as ${SHORT_GREEN}`)
    expect(other?.error?.message).toBe(`it belongs to cluster blue, founded as ${GREEN}`)
  })

  it('a survey covers the cluster with the given founding digest, whichever peer answers first', async () => {
    const answers = { [IDS[0]]: {}, [IDS[1]]: { clusterId: 'green', founding: GREEN } }
    expect((await survey(answers, { founding: GREEN })).result).toMatchObject({ clusterId: 'green', founding: GREEN })
  })

  it('a survey names the other cluster when all answers come from another cluster', async () => {
    expect((await survey({ [IDS[0]]: {} }, { founding: GREEN })).result).toMatchObject({
      clusterId: '',
      voters: 0,
      quorum: 0,
      problem: `no peer of the cluster founded as ${GREEN} answers; 1 peer of another cluster does (blue, founded as ${BLUE})`,
      peers: [
        { reason: 'it belongs to cluster blue, founded as b0b0b0b0b0b0…' },
        { reason: 'because: refused' },
        { reason: 'because: refused' }
      ]
    })
    const { result } = await survey({ [IDS[0]]: {}, [IDS[1]]: {}, [IDS[2]]: {} }, { founding: GREEN })
    expect(result.problem).toContain(`answers; 3 peers of another cluster do (blue, founded as ${BLUE})`)
    expect((await survey({}, { founding: GREEN })).result).toMatchObject({
      problem: expect.stringContaining('no peer answers; unreachable: ') as string,
      quorum: 0
    })
  })

  it('a survey refuses a client that uses the key of a peer', async () => {
    await expect(survey({ [IDS[0]]: {} }, { self: IDS[1] })).rejects.toThrow(InvalidArgumentError)
  })
})

describe('the table of a survey', () => {
  it('the table of a survey fits 80 columns, whatever the ids, numbers, addresses and reasons are', () => {
    const long = '/dns6/' + 'peer-1.a-name-that-somebody-thought-of.example.org'.repeat(3) + '/tcp/40001'
    const index = 987_654_321_012
    const bytes = 2 ** 50 - 1
    const big = {
      term: 123_456,
      lastIndex: index,
      disk: { freeBytes: bytes, totalBytes: 2 ** 51, low: true },
      store: { logBytes: bytes, firstIndex: index, fileBytes: bytes, usedBytes: bytes },
      sending: [{ to: IDS[2], index, sentBytes: bytes, totalBytes: bytes }],
      receiving: { index, receivedBytes: bytes }
    }
    const quarantined = [
      {
        peerId: IDS[2],
        refusesThisPeer: false,
        reason: 'it was restored from an older copy of its data directory. '.repeat(9)
      }
    ]
    const reports = [
      {
        id: IDS[0],
        addresses: [`${long}/p2p/${IDS[0]}`],
        answer: answer(IDS[0], { ...big, clusterId: 'b'.repeat(64), quarantined })
      },
      // Ends in the same ten letters.
      {
        id: `${SELF.slice(0, 42)}${IDS[0].slice(-10)}`,
        addresses: [`${long}/p2p/x`],
        reason: 'it said no. '.repeat(30)
      },
      {
        id: IDS[2],
        addresses: [`/ip6/${'2001:0db8:'.repeat(4)}/tcp/1/p2p/x`, addressOf(IDS[2])],
        reason: 'x'.repeat(200)
      }
    ]
    const lines = statusLines(judge(reports))
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80)
    const text = lines.join('\n')
    expect(text.replaceAll(/\s/g, '')).toContain('x'.repeat(200))
    expect(text).toContain('192.0.2.1:1')
    // Ids are shortened as long as they still differ.
    for (const { id } of reports) expect(text).toContain(`…${id.slice(-11)} `)
    expect(text).not.toContain(IDS[0])
  })

  it('the table of a survey escapes control characters in every text that a peer chooses', () => {
    const evil = '\u001b[2J\u009b31m\r\n\u202eall is well\u007f'
    const fields = {
      clusterId: evil,
      founding: evil,
      leader: evil,
      voters: [{ peerId: evil, addresses: [evil] }],
      quarantined: [{ peerId: evil, refusesThisPeer: false, reason: evil }]
    }
    const lines = statusLines(
      judge([
        { id: evil, addresses: [evil], answer: answer(evil, { ...fields, role: 'leader', admitted: false }) },
        { id: IDS[1], addresses: [evil], reason: evil, error: new Error(evil) }
      ])
    )
    expect(lines.filter((line) => /[\p{Cc}\p{Bidi_Control}]/u.test(line))).toEqual([])
    expect(lines.join('\n')).toContain('\\u001b[2J\\u009b31m\\r\\n\\u202eall is well\\u007f')
  })

  it('the table of a survey shows lag and free space of each peer that answers, and the reason for the others', () => {
    const text = statusLines(
      judge([
        { id: IDS[0], addresses: [addressOf(IDS[0])], answer: answer(IDS[0], { lastIndex: 25 }) },
        {
          id: IDS[1],
          addresses: [addressOf(IDS[1])],
          answer: answer(IDS[1], { disk: { freeBytes: 1536 * 1024, totalBytes: 2 ** 30, low: true } })
        },
        { id: IDS[2], addresses: [addressOf(IDS[2], 2)], reason: 'connection refused' }
      ])
    ).join('\n')
    expect(text).toMatch(/…ft9HyQ6X +leader +3 +25 +0 +192\.0\.2\.1:1$/m)
    expect(text).toMatch(/…QDc298L3 +follower +3 +10 +15 +1\.5 MiB, low +192\.0\.2\.1:1$/m)
    expect(text).toMatch(/…kSCVe2Xo +no answer +192\.0\.2\.1:2\n +connection refused$/m)
  })

  it('the lines after the table of a survey show what each peer stores, and the snapshots that peers send and receive', () => {
    const mib = 1024 * 1024
    const store = { logBytes: 41 * mib, firstIndex: 1234, fileBytes: 120 * mib, usedBytes: 98 * mib }
    const sending = [{ to: IDS[1], index: 1233, sentBytes: 12 * mib, totalBytes: 98 * mib }]
    const receiving = { index: 1233, receivedBytes: 11.5 * mib }
    const lines = statusLines(
      judge([
        {
          id: IDS[0],
          addresses: [addressOf(IDS[0])],
          answer: answer(IDS[0], { store, sending, repairs: { damaged: 2, repaired: 7, lost: 1 } })
        },
        { id: IDS[1], addresses: [addressOf(IDS[1])], answer: answer(IDS[1], { receiving }) },
        { id: IDS[2], addresses: [addressOf(IDS[2])], reason: 'connection refused' }
      ])
    )
    expect(lines.slice(lines.lastIndexOf(''))).toEqual([
      '',
      '…ft9HyQ6X log 41.0 MiB from entry 1234 · pages 120.0 MiB, 98.0 MiB used',
      '…ft9HyQ6X damaged pages: 2 wait for a good copy, 7 repaired, 1 lost',
      '…ft9HyQ6X sends …QDc298L3 the snapshot of entry 1233: 12.0 MiB of about 98.0 MiB',
      '…QDc298L3 receives the snapshot of entry 1233: 11.5 MiB'
    ])
  })

  it('the lines after the table of a survey show the last comparison of each peer, and the damage that it has found', () => {
    const compared = (outcome: ComparisonOutcome, damage = {}): Partial<StatusAnswer> => ({
      scrub: { comparison: { index: 1234, outcome }, damagedPages: 0, damagedRecords: 0, ...damage }
    })
    const lines = statusLines(
      judge([
        { id: IDS[0], addresses: [addressOf(IDS[0])], answer: answer(IDS[0], compared('equal')) },
        { id: IDS[1], addresses: [addressOf(IDS[1])], answer: answer(IDS[1], compared('pending', { damagedPages: 2 })) }
      ])
    )
    expect(lines.slice(lines.lastIndexOf(''))).toEqual([
      '',
      '…ft9HyQ6X compared its state after entry 1234: all voters have the same',
      '…QDc298L3 compared its state after entry 1234: not finished yet',
      '…QDc298L3 has found damage: 2 pages and 0 records since its start'
    ])
  })

  it('the table of a survey shows a peer that refused the client as refused, and a peer of another cluster as such', () => {
    const unlisted = new NotAuthorizedError(SELF, 'it is not listed')
    const text = statusLines(
      judge([
        { id: IDS[0], addresses: [addressOf(IDS[0])], answer: answer(IDS[0]) },
        { id: IDS[1], addresses: [addressOf(IDS[1])], answer: answer(IDS[1], { founding: GREEN }) },
        { id: IDS[2], addresses: [addressOf(IDS[2])], reason: 'refused: it is not listed', error: unlisted }
      ])
    ).join('\n')
    expect(text).toMatch(/…QDc298L3 +other cluster +192/)
    expect(text).toMatch(/…kSCVe2Xo +refused +192/)
    expect(text).not.toContain('no answer')
  })

  it('the table of a survey shows the founding digest, and which peers are new', () => {
    const text = statusLines(
      judge([
        { id: IDS[0], addresses: [addressOf(IDS[0])], answer: answer(IDS[0]) },
        { id: IDS[2], addresses: [addressOf(IDS[2])], answer: answer(IDS[2], { role: 'candidate', admitted: false }) }
      ])
    ).join('\n')
    expect(text).toContain(`founding ${BLUE}\n`)
    expect(text).toMatch(/…kSCVe2Xo +new +3 /)
    expect(text.replaceAll('\n', ' ')).toContain(
      '…kSCVe2Xo is new: it takes no part until all voters of the cluster file, or a leader, admit it'
    )
  })

  it('the table of a survey shows a peer that the leader does not list as removed, and what to do about it', async () => {
    const voters = members.slice(0, 2)
    const given = [addressOf(IDS[0]), addressOf(IDS[2])]
    const removed = { role: 'candidate', leader: '', term: 9 } as const
    const { result } = await survey({ [IDS[0]]: { voters }, [IDS[1]]: { voters }, [IDS[2]]: removed }, { given })
    const text = statusLines(result).join('\n')
    expect(text).toMatch(new RegExp(`^${shortId(IDS[2])} +removed +9 `, 'm'))
    expect(text).toContain(`${shortId(IDS[2])} is no member any longer: stop it`)
    expect(healthLine(result)).toContain('2 of 2 voters follow it')
  })

  it('the line of a healthy cluster names the disks that are almost full', async () => {
    const disk = { freeBytes: 90 * 2 ** 20, totalBytes: 2 ** 30, low: true }
    const { result } = await survey({ [IDS[0]]: {}, [IDS[1]]: { disk }, [IDS[2]]: { disk: { ...disk, low: false } } })
    expect(healthLine(result)).toBe(
      `healthy: leader ${shortId(IDS[0])} in term 3, 3 of 3 voters follow it` +
        ` (the disk of ${shortId(IDS[1])} is almost full: 90.0 MiB are free)`
    )
  })

  it('the table of a survey has one line for each peer that is kept out, with the peers that refuse it and the reason', () => {
    const reason = 'it was restored from an older copy'
    const [one, two, victim] = IDS
    const refused = [{ peerId: victim, refusesThisPeer: false, reason }]
    const refusing = [one, two].map((peerId) => ({ peerId, refusesThisPeer: true, reason }))
    const result = judge([
      { id: one, addresses: [addressOf(one)], answer: answer(one, { quarantined: refused }) },
      { id: two, addresses: [addressOf(two)], answer: answer(two, { quarantined: refused }) },
      {
        id: victim,
        addresses: [addressOf(victim)],
        answer: answer(victim, { role: 'candidate', leader: '', admitted: false, quarantined: refusing })
      }
    ])
    const text = statusLines(result).join(' ')
    expect(text.match(/is kept out/g)).toHaveLength(1)
    expect(text).toMatch(/…kSCVe2Xo +kept out +3 /)
    expect(text).not.toContain('candidate')
    expect(text).toContain(`…kSCVe2Xo is kept out by …ft9HyQ6X and …QDc298L3: ${reason}`)
    expect(text).not.toContain('is new')
    expect(result).toMatchObject({ following: 2, answering: 3, problem: undefined })
    expect(healthLine(result)).toBe(
      'healthy: leader …ft9HyQ6X in term 3, 2 of 3 voters follow it (…kSCVe2Xo is kept out: see quire status)'
    )
  })
})
