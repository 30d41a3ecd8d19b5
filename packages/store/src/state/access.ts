/** Decides changes of the admins and clients of a cluster (docs/membership.md). It is pure. */
import { ChangeRefusedError, type AdminChange } from '@quire/protocol'
import { MAX_ADMINS, MAX_CLIENTS, MAX_DENIED, type ReplicatedConfig } from './commands.js'

type AccessChange = Extract<AdminChange, { type: 'allowClient' | 'denyClient' | 'addAdmin' | 'removeAdmin' }>

export interface AccessRule {
  readonly id: string
  readonly rule: 'admin' | 'allowed' | 'denied'
}

/** Stands for all clients without a rule of their own. */
export const ANY_CLIENT = 'any'

/** Returns undefined if the change is in force already. Throws ChangeRefusedError. */
export function changeAccess(
  config: ReplicatedConfig,
  { type, id }: AccessChange
): { readonly config: ReplicatedConfig; readonly what: string } | undefined {
  if ([...config.members, ...config.invited].some(({ peerId }) => peerId === id)) {
    throw refused(type, id, 'it is a peer, and an admin or client needs another key')
  }
  const next = CHANGES[type](config, id)
  return next && { config: next, what: `${WORDS[type].made} ${id}` }
}

/** All rules, in the order of the ids. */
export function accessRules({ admins, clients = [], denied }: ReplicatedConfig): AccessRule[] {
  const rules: AccessRule[] = [
    ...admins.map((id) => ({ id, rule: 'admin' }) as const),
    ...clients.filter((id) => !admins.includes(id)).map((id) => ({ id, rule: 'allowed' }) as const),
    ...denied.map((id) => ({ id, rule: 'denied' }) as const)
  ]
  return rules.sort((a, b) => (a.id < b.id ? -1 : 1))
}

/** The words before the id: of a change that is refused, and of one that was made. */
const WORDS: { readonly [T in AccessChange['type']]: { readonly refused: string; readonly made: string } } = {
  allowClient: { refused: 'access for client', made: 'allows client' },
  denyClient: { refused: 'the exclusion of client', made: 'denies client' },
  addAdmin: { refused: 'the addition of admin', made: 'adds admin' },
  removeAdmin: { refused: 'the removal of admin', made: 'removes admin' }
}

type Change = (config: ReplicatedConfig, id: string) => ReplicatedConfig | undefined

const CHANGES: { readonly [T in AccessChange['type']]: Change } = {
  allowClient(config, id) {
    const { clients, denied } = config
    if (id === ANY_CLIENT) return clients === undefined ? undefined : { ...config, clients: undefined }
    const allowed = { ...config, denied: without(denied, id) }
    if (clients === undefined || clients.includes(id)) return denied.includes(id) ? allowed : undefined
    checkRoom('allowClient', id, clients, MAX_CLIENTS)
    return { ...allowed, clients: withId(clients, id) }
  },

  denyClient(config, id) {
    const { admins, clients, denied } = config
    if (id === ANY_CLIENT) return clients === undefined ? { ...config, clients: [] } : undefined
    if (admins.includes(id)) throw refused('denyClient', id, 'it is an admin: remove it there first')
    if (denied.includes(id)) return undefined
    checkRoom('denyClient', id, denied, MAX_DENIED)
    return { ...config, clients: clients && without(clients, id), denied: withId(denied, id) }
  },

  addAdmin(config, id) {
    const { admins, denied } = config
    if (admins.includes(id)) return undefined
    checkRoom('addAdmin', id, admins, MAX_ADMINS)
    return { ...config, admins: withId(admins, id), denied: without(denied, id) }
  },

  removeAdmin(config, id) {
    const { admins } = config
    if (!admins.includes(id)) return undefined
    if (admins.length === 1) throw refused('removeAdmin', id, 'it is the last one, and nobody could change the cluster')
    return { ...config, admins: without(admins, id) }
  }
}

function checkRoom(type: AccessChange['type'], id: string, ids: readonly string[], limit: number): void {
  if (ids.length >= limit) throw refused(type, id, `there are ${limit} already, which is the limit`)
}

function refused(type: AccessChange['type'], id: string, reason: string): ChangeRefusedError {
  return new ChangeRefusedError(`${WORDS[type].refused} ${id}`, reason)
}

function withId(ids: readonly string[], id: string): string[] {
  return [...ids, id].sort()
}

function without(ids: readonly string[], id: string): string[] {
  return ids.filter((each) => each !== id)
}
