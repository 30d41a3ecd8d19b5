/** The file of `--cluster`: the peers of a user's cluster, and the commands that do something to them. */
import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { parsePeerAddress } from '@quire/net'
import type { Member } from '@quire/protocol'

export interface GivenPeerInit {
  readonly name: string
  readonly member: Member
  readonly kill?: string
  readonly start?: string
  readonly pause?: string
  readonly resume?: string
}

export interface GivenClusterInit {
  readonly peers: readonly GivenPeerInit[]
  /** The file of an admin's key. */
  readonly adminKey?: string
}

/** What a file may offer to faults. */
export const KILLS = 'the commands kill and start of a peer'
export const STOPS = 'the commands pause and resume of a peer'
export const ADMIN = 'the key of an admin'

export function offersOf({ peers, adminKey }: GivenClusterInit): ReadonlySet<string> {
  const offers = new Set<string>()
  if (peers.some(({ kill }) => kill !== undefined)) offers.add(KILLS)
  if (peers.some(({ pause }) => pause !== undefined)) offers.add(STOPS)
  if (adminKey !== undefined) offers.add(ADMIN)
  return offers
}

/** Commands that come in pairs: what one does, the other ends. */
const PAIRS = [
  ['kill', 'start'],
  ['pause', 'resume']
] as const
const COMMANDS = PAIRS.flat()

/** A file, and the folder that its paths and commands begin in. */
export interface GivenFile extends GivenClusterInit {
  readonly folder: string
}

/** Throws an Error that names the file and the wrong field. */
export function readGivenFile(file: string): GivenFile {
  try {
    return { ...parseGivenFile(readFileSync(file, 'utf8')), folder: dirname(resolve(file)) }
  } catch (error) {
    throw new Error(`--cluster ${file}: ${(error as Error).message}`, { cause: error })
  }
}

/** Throws an Error that names the wrong field. */
export function parseGivenFile(text: string): GivenClusterInit {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new Error(`it is no JSON: ${(error as Error).message}`, { cause: error })
  }
  const file = objectOf(value, 'the file', ['peers', 'adminKey'])
  const { peers, adminKey } = file
  if (!Array.isArray(peers) || peers.length === 0) throw new Error('peers: a list of peers is missing')
  const given = peers.map((peer: unknown, i) => parsePeer(peer, i))
  const ids = given.map(({ member }) => member.peerId)
  const twice = ids.findIndex((id, i) => ids.indexOf(id) < i)
  if (twice >= 0) throw new Error(`peers[${twice}].addresses: ${ids[twice]} is there twice`)
  return adminKey === undefined ? { peers: given } : { peers: given, adminKey: textOf(adminKey, 'adminKey') }
}

function parsePeer(value: unknown, index: number): GivenPeerInit {
  const where = `peers[${index}]`
  const peer = objectOf(value, where, ['name', 'addresses', ...COMMANDS])
  const name = peer.name === undefined ? `peer${index + 1}` : textOf(peer.name, `${where}.name`)
  const member = memberOf(peer.addresses, `${where}.addresses`)
  const commands: Record<string, string> = {}
  for (const command of COMMANDS)
    if (peer[command] !== undefined) commands[command] = textOf(peer[command], `${where}.${command}`)
  for (const [one, other] of PAIRS)
    if ((commands[one] === undefined) !== (commands[other] === undefined))
      throw new Error(`${where}: ${one} and ${other} belong together, and one of them is missing`)
  return { name, member, ...commands }
}

function memberOf(value: unknown, where: string): Member {
  if (!Array.isArray(value) || value.length === 0) throw new Error(`${where}: a list of multiaddrs is missing`)
  const all = value.map((text: unknown) => parsePeerAddress(textOf(text, where), where))
  const { peerId } = all[0]!
  if (all.some((each) => each.peerId !== peerId)) throw new Error(`${where}: they are of several peers`)
  return { peerId, addresses: all.map(({ address }) => address) }
}

function objectOf(value: unknown, where: string, known: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${where}: no object`)
  // It may be a misspelled one.
  const unknown = Object.keys(value).find((key) => !known.includes(key))
  if (unknown !== undefined) throw new Error(`${where}: the key ${unknown} is none of ${known.join(', ')}`)
  return value as Readonly<Record<string, unknown>>
}

function textOf(value: unknown, where: string): string {
  if (typeof value !== 'string' || value.trim() === '') throw new Error(`${where}: ${JSON.stringify(value)} is no text`)
  return value
}
