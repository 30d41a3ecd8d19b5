/** The commands that change a cluster or show who may: members, round-trip, transfer-leader, clients and admins. */
import { createClock, parsePeerAddresses, parsePeerId } from '@quire/net'
import { InvalidArgumentError, MAX_ROUND_TRIP_MS, type AdminChange, type Member } from '@quire/protocol'
import Table from 'cli-table3'
import type { Command } from 'commander'
import { PLAIN_TABLE } from './layout.js'
import { askLeader, type Redirection } from './leader-search.js'
import {
  explainRefusal,
  keyOf,
  parseRoundTrip,
  peersOf,
  withCluster,
  type ClusterOptions,
  type KeyOwner
} from './options.js'
import { adviseOnVoters, printJson, printLine, printNote } from './output.js'
import { createProbe, type AccessAnswer, type Probe } from './probe.js'

const TIMEOUT_MS = 30_000
/** Limits one question. A peer far away needs five round trips. */
const QUESTION_MS = 10 * MAX_ROUND_TRIP_MS

export function addAdminCommands(program: Command): void {
  addMemberCommands(program)
  addAccessCommands(program)
}

function addMemberCommands(program: Command): void {
  const members = program
    .command('members')
    .description('show the members of a cluster, and invite, promote, remove or replace one (docs/membership.md)')
  withCluster(members.command('list'))
    .description('show the members with their roles and lag, and the invited peers')
    .action(listMembers)
  changeCommand(members, 'add')
    .description('invite a peer, which becomes a learner when it is started with --join')
    .argument('<address>', ADDRESS)
    .action((address: string, options: ClusterOptions) =>
      change(options, { type: 'addMember', member: parseMember(address) })
    )
  changeCommand(members, 'promote')
    .description('make a learner that has caught up a voter')
    .argument('<peer>', PEER)
    .action((id: string, options: ClusterOptions) => change(options, { type: 'promoteMember', id: parseMemberId(id) }))
  changeCommand(members, 'remove')
    .description('remove a member, or withdraw an invitation')
    .argument('<peer>', PEER)
    .action((id: string, options: ClusterOptions) => change(options, { type: 'removeMember', id: parseMemberId(id) }))
  changeCommand(members, 'replace')
    .description('invite a peer that takes the place of a member when it has caught up')
    .argument('<peer>', PEER)
    .argument('<address>', ADDRESS)
    .action((id: string, address: string, options: ClusterOptions) =>
      change(options, { type: 'replaceMember', id: parseMemberId(id), by: parseMember(address) })
    )
  changeCommand(program, 'round-trip')
    .description('set the longest round trip between two voters, from which all timeouts derive')
    .argument('<ms>', 'whole milliseconds')
    .action((ms: string, options: ClusterOptions) =>
      change(options, { type: 'setRoundTrip', roundTripMs: parseRoundTrip('ms', ms) })
    )
  changeCommand(program, 'transfer-leader')
    .description('move leadership to a voter, or to the best one')
    .argument('[peer]', PEER)
    .action((id: string | undefined, options: ClusterOptions) =>
      change(options, { type: 'transferLeadership', id: id === undefined ? '' : parseMemberId(id) })
    )
}

function addAccessCommands(program: Command): void {
  const clients = program.command('clients').description('show which clients may connect, and allow or deny one')
  withCluster(clients.command('list'))
    .description('show the admins, and the clients that are allowed or denied')
    .action(listAccess)
  changeCommand(clients, 'allow')
    .description("let a client connect; 'any' lets in all that are not denied")
    .argument('<id>', CLIENT)
    .action((id: string, options: ClusterOptions) => change(options, { type: 'allowClient', id: parseClient(id) }))
  changeCommand(clients, 'deny')
    .description("keep a client out, and cut its connections; 'any' keeps out all that are not allowed by their ids")
    .argument('<id>', CLIENT)
    .action((id: string, options: ClusterOptions) => change(options, { type: 'denyClient', id: parseClient(id) }))
  const admins = program.command('admins').description('add or remove an admin, who may change the cluster')
  changeCommand(admins, 'add')
    .description('let an identity change the cluster')
    .argument('<id>', 'its PeerId')
    .action((id: string, options: ClusterOptions) => change(options, { type: 'addAdmin', id: parsePeerId(id, 'id') }))
  changeCommand(admins, 'remove')
    .description('let an admin change the cluster no longer')
    .argument('<id>', 'its PeerId')
    .action((id: string, options: ClusterOptions) =>
      change(options, { type: 'removeAdmin', id: parsePeerId(id, 'id') })
    )
}

const ADDRESS = 'multiaddr of the peer, which ends in /p2p/<PeerId>, or several joined by commas'
const PEER = "the member's PeerId, or its member id as members list shows it"
const CLIENT = "the client's PeerId, or 'any'"

function changeCommand(parent: Command, name: string): Command {
  return withCluster(parent.command(name))
}

async function change(options: ClusterOptions, wanted: AdminChange): Promise<void> {
  const { index, voters } = await withLeader(
    options,
    async (probe, to, timeoutMs) => {
      const answer = await probe.administer(to, options.cluster ?? '', wanted, timeoutMs)
      if (answer.type === 'redirect') return answer
      const { index } = answer
      const hasOtherVoters = index > 0 && (wanted.type === 'removeMember' || wanted.type === 'promoteMember')
      return { result: { index, voters: hasOtherVoters ? await countVoters(probe, to, timeoutMs) : undefined } }
    },
    'an admin'
  )
  if (voters !== undefined) adviseOnVoters(voters)
  if (voters === 1) printNote('the cluster stops when its only voter does, and its disk has the only durable copy')
  const isTransfer = wanted.type === 'transferLeadership'
  if (options.json === true) printJson({ changed: index > 0 || isTransfer, index: index === 0 ? null : index })
  else if (index === 0 && !isTransfer) printLine('nothing to change: already in force')
}

/** Undefined if the peer leads no longer, or does not answer any more: the change is made all the same. */
async function countVoters(probe: Probe, to: Member, timeoutMs: number): Promise<number | undefined> {
  const answer = await probe.roster(to, timeoutMs).catch(() => undefined)
  if (answer === undefined || answer.type === 'redirect') return undefined
  return answer.members.filter(({ role }) => role === 'voter').length
}

async function listMembers(options: ClusterOptions): Promise<void> {
  const { lastIndex, members, invited } = await withLeader(options, async (probe, to, timeoutMs) => {
    const answer = await probe.roster(to, timeoutMs)
    return answer.type === 'redirect' ? answer : { result: answer }
  })
  const lag = (matchIndex: number): number => Math.max(0, lastIndex - matchIndex)
  if (options.json === true) {
    for (const { matchIndex, ...member } of members) printJson({ ...member, lag: lag(matchIndex) })
    for (const { peerId, replaces } of invited) {
      printJson({ id: peerId, role: 'invited', replaces: replaces === '' ? null : replaces })
    }
    return
  }
  const table = new Table({ head: ['ROLE', 'LAG', 'STATE', 'MEMBER'], colWidths: [9, 9, 14], ...PLAIN_TABLE })
  for (const { id, role, matchIndex, answers, hasCaughtUp } of members) {
    const state = answers ? (hasCaughtUp ? 'up to date' : 'catching up') : 'no answer'
    table.push([role, String(lag(matchIndex)), state, id])
  }
  for (const { peerId, replaces } of invited) {
    table.push(['invited', '', '', replaces === '' ? peerId : `${peerId}, to replace ${replaces}`])
  }
  for (const line of table.toString().split('\n')) printLine(line.trimEnd())
}

async function listAccess(options: ClusterOptions): Promise<void> {
  const key = await keyOf(options)
  const probe = await createProbe(key)
  try {
    const { any, rules } = await rulesOf(probe, peersOf(options), options.timeout ?? TIMEOUT_MS).catch(
      (error: unknown) => {
        throw explainRefusal(error, key)
      }
    )
    if (options.json === true) {
      printJson({ id: 'any', rule: any ? 'allowed' : 'denied' })
      for (const rule of rules) printJson(rule)
      return
    }
    for (const { id, rule } of rules) printLine(`${rule.padEnd(8)} ${id}`)
    printLine(`${any ? 'allowed ' : 'denied  '} any other client`)
  } finally {
    await probe.close()
  }
}

/** Asks the first peer that answers for all rules. */
async function rulesOf(probe: Probe, peers: readonly string[], timeoutMs: number): Promise<Omit<AccessAnswer, 'done'>> {
  const given = peers.flatMap((text) => parsePeerAddresses(text, '--peers'))
  let last: unknown
  for (const { peerId, address } of given) {
    const to = { peerId, addresses: [address] }
    try {
      let page = await probe.access(to, '', Math.min(QUESTION_MS, timeoutMs))
      const rules = [...page.rules]
      while (!page.done) {
        page = await probe.access(to, rules.at(-1)!.id, Math.min(QUESTION_MS, timeoutMs))
        rules.push(...page.rules)
      }
      return { any: page.any, rules }
    } catch (error) {
      last = error
    }
  }
  throw last
}

/** Asks the leader with a probe of its own. */
async function withLeader<T>(
  options: ClusterOptions,
  ask: (probe: Probe, to: Member, timeoutMs: number) => Promise<Redirection | { readonly result: T }>,
  owner: KeyOwner = 'a listed client'
): Promise<T> {
  const key = await keyOf(options)
  const peers = peersOf(options).flatMap((text) => parsePeerAddresses(text, '--peers'))
  const given = peers.map(({ peerId, address }) => ({ peerId, addresses: [address] }))
  const probe = await createProbe(key)
  try {
    return await askLeader(given, createClock(), options.timeout ?? TIMEOUT_MS, (to, timeoutMs) =>
      ask(probe, to, Math.min(QUESTION_MS, timeoutMs))
    )
  } catch (error) {
    throw explainRefusal(error, key, owner)
  } finally {
    await probe.close()
  }
}

function parseMember(text: string): Member {
  const parsed = parsePeerAddresses(text, 'address')
  const { peerId } = parsed[0]!
  if (parsed.some((each) => each.peerId !== peerId)) {
    throw new InvalidArgumentError('address', text, 'the addresses of one peer')
  }
  return { peerId, addresses: parsed.map(({ address }) => address) }
}

/** Parses a PeerId, or a member id: a PeerId, a slash, and an incarnation. */
function parseMemberId(text: string): string {
  const [peerId = '', incarnation, ...rest] = text.split('/')
  const isMemberId = incarnation === undefined || (/^[0-9a-f]+$/.test(incarnation) && rest.length === 0)
  if (!isMemberId) throw new InvalidArgumentError('peer', text, PEER)
  const normal = parsePeerId(peerId, 'peer')
  return incarnation === undefined ? normal : `${normal}/${incarnation}`
}

function parseClient(text: string): string {
  return text === 'any' ? text : parsePeerId(text, 'id')
}
