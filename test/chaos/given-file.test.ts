/** The file of `pnpm chaos --cluster`. */
import { describe, expect, it } from 'vitest'
import { offersOf, parseGivenFile } from './src/cluster/given-file.js'
import { OWN_FAULTS } from './src/faults/index.js'
import { whyNotGiven } from './src/given-run.js'

const ID = '12D3KooWLemdri1zNbMBuemEyHQtd4crNYGMbVoguXNvzSdLNacz'
const addresses = [`/ip4/127.0.0.1/tcp/4001/p2p/${ID}`]
const other = ['/dns4/two.example/tcp/4001/p2p/12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5']
const kills = { kill: 'ssh one kill', start: 'ssh one start' }

describe('the file of a given cluster', () => {
  it('a peer has its addresses, its commands, and a name by its place if it has none of its own', () => {
    const text = JSON.stringify({
      peers: [
        { addresses, ...kills },
        { name: 'two', addresses: other }
      ]
    })
    expect(parseGivenFile(text).peers).toEqual([
      { name: 'peer1', member: { peerId: ID, addresses }, ...kills },
      { name: 'two', member: { peerId: other[0]!.split('/').at(-1), addresses: other } }
    ])
  })

  it('a wrong file is refused with an error that names the field', () => {
    for (const [content, problem] of [
      [[], 'the file: no object'],
      [{}, 'peers: a list of peers is missing'],
      [{ peers: [{ addresses: [] }] }, 'peers[0].addresses: a list of multiaddrs is missing'],
      [{ peers: [{ addresses: ['/ip4/127.0.0.1/tcp/4001'] }] }, 'peers[0].addresses'],
      [{ peers: [{ addresses: [...addresses, ...other] }] }, 'peers[0].addresses: they are of several peers'],
      [{ peers: [{ addresses, kil: 'true' }] }, 'peers[0]: the key kil is none of'],
      [{ peers: [{ addresses, kill: 'true' }] }, 'peers[0]: kill and start belong together'],
      [{ peers: [{ addresses, kill: 7, start: 'true' }] }, 'peers[0].kill: 7 is no text'],
      [{ peers: [{ addresses }, { addresses }] }, `peers[1].addresses: ${ID} is there twice`],
      [{ peers: [{ addresses }], adminKey: '' }, 'adminKey: "" is no text']
    ] as const)
      expect(() => parseGivenFile(JSON.stringify(content))).toThrow(problem)
    expect(() => parseGivenFile('{')).toThrow('it is no JSON')
  })

  it('a file offers kills and stops if one of its peers has the commands, and an admin if it names a key', () => {
    const peers = [{ addresses: other }, { addresses, ...kills }]
    const offers = (file: object): string[] => [...offersOf(parseGivenFile(JSON.stringify(file)))]
    expect(offers({ peers })).toEqual(['the commands kill and start of a peer'])
    expect(offers({ peers: [{ addresses, pause: 'p', resume: 'r' }] })).toEqual([
      'the commands pause and resume of a peer'
    ])
    expect(offers({ peers: [{ addresses }], adminKey: 'admin.key' })).toEqual(['the key of an admin'])
  })

  it('each fault of an own cluster says what the cluster of a user does not offer', () => {
    const file = { peers: [{ addresses, ...kills, pause: 'p', resume: 'r' }], adminKey: 'admin.key' }
    const whyNot = whyNotGiven({ ...parseGivenFile(JSON.stringify(file)), folder: '/' })
    for (const fault of OWN_FAULTS) expect(whyNot(fault)).toMatch(/^it needs [a-z ]+$/)
  })
})
