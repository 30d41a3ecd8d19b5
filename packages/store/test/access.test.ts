import { decode, encode } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { accessRules, changeAccess } from '../src/state/access.js'
import { MAX_ADMINS, MAX_CLIENTS, MAX_DENIED, clusterConfig, type ReplicatedConfig } from '../src/state/commands.js'
import { founded } from './support/linked-peer.js'

type AccessChange = Parameters<typeof changeAccess>[1]

/** A cluster of peers a and b, with admin root. */
function cluster(change: Partial<ReplicatedConfig> = {}): ReplicatedConfig {
  return founded(['a', 'b'], { admins: ['root'], clients: ['client'], ...change })
}

function changed(config: ReplicatedConfig, type: AccessChange['type'], id: string): ReplicatedConfig | undefined {
  return changeAccess(config, { type, id })?.config
}

function refusal(config: ReplicatedConfig, type: AccessChange['type'], id: string): string {
  try {
    changeAccess(config, { type, id })
  } catch (error) {
    expect(error).toMatchObject({ name: 'ChangeRefusedError', code: 'ERR_CHANGE_REFUSED' })
    return (error as Error).message
  }
  throw new Error(`${type} ${id} is not refused`)
}

const many = (count: number): string[] => Array.from({ length: count }, (_, i) => `id-${String(i).padStart(5, '0')}`)

describe('access of clients', () => {
  it('a client that is allowed is listed in the order of the ids, and keeps no denial', () => {
    const config = cluster({ clients: ['m'], denied: ['c', 'z'] })
    expect(changed(config, 'allowClient', 'c')).toEqual({ ...config, clients: ['c', 'm'], denied: ['z'] })
  })

  it('a client that is allowed where any client may connect only loses its denial', () => {
    const config = cluster({ clients: undefined, denied: ['c'] })
    expect(changed(config, 'allowClient', 'c')).toEqual({ ...config, denied: [] })
    expect(changed(config, 'allowClient', 'd')).toBeUndefined()
  })

  it('a client that is denied leaves the list of clients, and is listed among the denied ones', () => {
    const config = cluster({ clients: ['c', 'd'], denied: ['z'] })
    expect(changed(config, 'denyClient', 'c')).toEqual({ ...config, clients: ['d'], denied: ['c', 'z'] })
  })

  it('a client that is denied where any client may connect is listed among the denied ones', () => {
    const config = cluster({ clients: undefined })
    expect(changed(config, 'denyClient', 'c')).toEqual({ ...config, denied: ['c'] })
  })

  it("the word 'any' stands for all clients without a rule of their own", () => {
    const listed = cluster({ clients: ['c'], denied: ['z'] })
    const open = changed(listed, 'allowClient', 'any')!
    expect(open).toEqual({ ...listed, clients: undefined })
    expect(changed(open, 'denyClient', 'any')).toEqual({ ...listed, clients: [] })
  })

  it('a change of access that is in force already changes nothing', () => {
    const config = cluster({ denied: ['z'] })
    const open = { ...config, clients: undefined }
    const inForce: [ReplicatedConfig, AccessChange['type'], string][] = [
      [config, 'allowClient', 'client'],
      [config, 'denyClient', 'z'],
      [config, 'denyClient', 'any'],
      [open, 'allowClient', 'any'],
      [config, 'addAdmin', 'root'],
      [config, 'removeAdmin', 'nobody']
    ]
    for (const [from, type, id] of inForce) expect(changed(from, type, id), `${type} ${id}`).toBeUndefined()
  })

  it('an admin is not denied as a client', () => {
    expect(refusal(cluster(), 'denyClient', 'root')).toBe(
      'the exclusion of client root is refused: it is an admin: remove it there first'
    )
  })
})

describe('admins', () => {
  it('an admin that is added keeps no denial', () => {
    const config = cluster({ denied: ['c'] })
    expect(changed(config, 'addAdmin', 'c')).toEqual({ ...config, admins: ['c', 'root'], denied: [] })
  })

  it('an admin that is removed may still connect as a client, as far as clients may', () => {
    const config = cluster({ admins: ['client', 'root'] })
    expect(changed(config, 'removeAdmin', 'client')).toEqual({ ...config, admins: ['root'] })
  })

  it('the last admin is not removed', () => {
    expect(refusal(cluster(), 'removeAdmin', 'root')).toBe(
      'the removal of admin root is refused: it is the last one, and nobody could change the cluster'
    )
  })
})

describe('the limits of access', () => {
  it('an id of a member or of an invited peer is neither a client nor an admin', () => {
    const config = cluster({ invited: [{ peerId: 'c', addresses: [], replaces: '' }] })
    const why = 'it is a peer, and an admin or client needs another key'
    for (const id of ['a', 'c']) {
      expect(refusal(config, 'allowClient', id)).toBe(`access for client ${id} is refused: ${why}`)
      expect(refusal(config, 'denyClient', id)).toBe(`the exclusion of client ${id} is refused: ${why}`)
      expect(refusal(config, 'addAdmin', id)).toBe(`the addition of admin ${id} is refused: ${why}`)
    }
  })

  it('clients, denied clients and admins have a limit each, and a full list fits the configuration', () => {
    const full = cluster({ clients: many(MAX_CLIENTS), denied: many(MAX_DENIED), admins: many(MAX_ADMINS) })
    expect(decode(clusterConfig, encode(clusterConfig, full))).toEqual(full)
    const limits: [AccessChange['type'], string][] = [
      ['allowClient', `access for client new is refused: there are ${MAX_CLIENTS} already, which is the limit`],
      ['denyClient', `the exclusion of client new is refused: there are ${MAX_DENIED} already, which is the limit`],
      ['addAdmin', `the addition of admin new is refused: there are ${MAX_ADMINS} already, which is the limit`]
    ]
    for (const [type, words] of limits) expect(refusal(full, type, 'new')).toBe(words)
  })

  it('a change of access says in words what it did', () => {
    const config = cluster({ admins: ['root', 'second'] })
    const words: [AccessChange['type'], string][] = [
      ['allowClient', 'allows client x'],
      ['denyClient', 'denies client x'],
      ['addAdmin', 'adds admin x']
    ]
    for (const [type, what] of words) expect(changeAccess(config, { type, id: 'x' })?.what).toBe(what)
    expect(changeAccess(config, { type: 'removeAdmin', id: 'second' })?.what).toBe('removes admin second')
  })
})

describe('access rules', () => {
  it('the access rules name each id once, in the order of the ids', () => {
    const config = cluster({ admins: ['m', 'root'], clients: ['a1', 'm', 'x'], denied: ['b1'] })
    expect(accessRules(config)).toEqual([
      { id: 'a1', rule: 'allowed' },
      { id: 'b1', rule: 'denied' },
      { id: 'm', rule: 'admin' },
      { id: 'root', rule: 'admin' },
      { id: 'x', rule: 'allowed' }
    ])
    expect(accessRules(cluster({ clients: undefined }))).toEqual([{ id: 'root', rule: 'admin' }])
  })
})
