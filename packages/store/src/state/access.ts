/** Decides changes of the admins and clients of a cluster (docs/membership.md). It is pure. */
import { ChangeRefusedError, type AdminChange } from '@quire/protocol'
import { MAX_ADMINS, MAX_CLIENTS, MAX_DENIED, type ReplicatedConfig } from './commands.js'

type AccessChange = Extract<AdminChange, { type: 'allowClient' | 'denyClient' | 'addAdmin' | 'removeAdmin' }>

export interface AccessRule {
  readonly id: string
  readonly rule: 'admin' | 'allowed' | 'denied'
}

/** Stands for all clients without a rule of their own. */
const ANY = 'any'

/** Returns undefined if the change is in force already. Throws ChangeRefusedError. */
export function changeAccess(
  config: ReplicatedConfig,
  { type, id }: AccessChange
): { readonly config: ReplicatedConfig; readonly what: string } | undefined {
  if (id !== ANY && config.members.some(({ peerId }) => peerId === id)) {
    throw new ChangeRefusedError(`${WORDS[type]} ${id}`, 'it is a member, and an admin or client needs another key')
  }
  const next = CHANGES[type](config, id)
  return next && { config: next, what: `${WORDS[type]} ${id}` }
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

const WORDS: { readonly [T in AccessChange['type']]: string } = {
  allowClient: 'allows client',
  denyClient: 'denies client',
  addAdmin: 'adds admin',
  removeAdmin: 'removes admin'
}

type Change = (config: ReplicatedConfig, id: string) => ReplicatedConfig | undefined

const CHANGES: { readonly [T in AccessChange['type']]: Change } = {
  allowClient(config, id) {
    const { clients, denied } = config
    if (id === ANY) return clients === undefined ? undefined : { ...config, clients: undefined }
    const isListed = clients?.includes(id) ?? true
    if (isListed && !denied.includes(id)) return undefined
    const listed = isListed ? clients : withId(clients ?? [], id, MAX_CLIENTS, 'clients')
    return { ...config, clients: listed, denied: without(denied, id) }
  },

  denyClient(config, id) {
    const { admins, clients, denied } = config
    if (id === ANY) return clients === undefined ? { ...config, clients: [] } : undefined
    if (admins.includes(id))
      throw new ChangeRefusedError(`denies client ${id}`, 'it is an admin: remove it there first')
    if (denied.includes(id)) return undefined
    const listed = clients && without(clients, id)
    return { ...config, clients: listed, denied: withId(denied, id, MAX_DENIED, 'denied clients') }
  },

  addAdmin(config, id) {
    const { admins, denied } = config
    if (admins.includes(id)) return undefined
    return { ...config, admins: withId(admins, id, MAX_ADMINS, 'admins'), denied: without(denied, id) }
  },

  removeAdmin(config, id) {
    const { admins } = config
    if (!admins.includes(id)) return undefined
    if (admins.length === 1) {
      throw new ChangeRefusedError(`removes admin ${id}`, 'it is the last one, and nobody could change the cluster')
    }
    return { ...config, admins: without(admins, id) }
  }
}

function withId(ids: readonly string[], id: string, limit: number, what: string): string[] {
  if (ids.length >= limit) throw new ChangeRefusedError(`one more of the ${what}`, `${limit} are the limit`)
  return [...ids, id].sort()
}

function without(ids: readonly string[], id: string): string[] {
  return ids.filter((each) => each !== id)
}
