/**
 * Mutants of the rules of docs/membership.md.
 *
 * Some rules need what the simulation does not do. They have tests of their own:
 *
 * | rule | test |
 * |---|---|
 * | the place of a member that answers is not given away | `membership.test.ts` |
 * | more than 64 members are refused | `membership.test.ts` |
 * | the leader makes a limited number of changes at once | `administration.test.ts` |
 * | a configuration that others tell is taken from members only, adds members and does nothing else, and is refused if it is not what its teller needs | `peer-links-behind.test.ts` |
 */
import type { Mutant } from '../mutants/mutant.js'

const STATE = 'store/dist/state/member-id.js'
const ACCESS = 'store/dist/state/access.js'
const PLANS = 'store/dist/peer/membership.js'
const ADMINISTRATION = 'store/dist/peer/administration.js'
const LINKS = 'store/dist/peer/peer-links.js'
const KNOWN = 'store/dist/peer/known-members.js'
const CORE = 'store/dist/peer/peer-core.js'
const REFUSAL = 'store/dist/peer/join-refusal.js'

const MEMBERS = 'docs/membership.md, Members'
const ADDRESSES = 'docs/identity.md, Addresses'
const BEHIND = 'docs/membership.md, A peer that is behind'
const CHANGES = 'docs/membership.md, Changes'
const JOINING = 'docs/membership.md, Joining'
const REPLACING = 'docs/membership.md, Replacing'

const RULES: readonly Mutant[] = [
  {
    name: 'the id of a joined peer lacks its incarnation',
    rule: MEMBERS,
    file: STATE,
    find: "return incarnation === '' ? peerId :",
    replace: 'return true ? peerId :'
  },
  {
    name: 'any directory of a member is welcome',
    rule: MEMBERS,
    file: LINKS,
    find: "if (this.known.ids.has(memberOf(introduction)))\n            return 'member';",
    replace: "return 'member';"
  },
  {
    name: 'a removed peer is welcome',
    rule: REPLACING,
    file: LINKS,
    find: "if (!this.links.has(remote))\n            return 'stranger';\n        if (this.known.ids.has(memberOf(introduction)))\n            return 'member';",
    replace: "return 'member';"
  },
  {
    name: 'a removed peer keeps its links',
    rule: REPLACING,
    file: LINKS,
    find: 'this.remove(peerId, link);\n            else',
    replace: ';\n            else'
  },
  {
    name: 'an older configuration is followed',
    rule: BEHIND,
    file: CORE,
    find: 'if (revision < this.newestConfig.revision)\n            return;',
    replace: ''
  },
  {
    name: 'a peer that is behind is not told the configuration',
    rule: BEHIND,
    file: LINKS,
    find: 'link.tell(newestConfiguration(applied));',
    replace: ''
  },
  {
    name: 'a peer does not link with the members that others tell of',
    rule: BEHIND,
    file: KNOWN,
    find: 'this.told.set(teller, config);',
    replace: ''
  },
  {
    name: 'what others have told ends with each configuration that is applied',
    rule: BEHIND,
    file: KNOWN,
    find: 'if (revision <= config.revision)\n                this.told.delete(teller);',
    replace: 'this.told.delete(teller);'
  },
  {
    name: 'a moved peer is looked for at its old address',
    rule: ADDRESSES,
    file: LINKS,
    find: 'this.init.book.learn(remote, addresses);',
    replace: ''
  },
  {
    name: 'the address of a moved peer is not passed on',
    rule: ADDRESSES,
    file: 'store/dist/peer/address-exchange.js',
    find: "link.tell({ type: 'raftAddresses', members });",
    replace: ';'
  },
  {
    name: 'a change does not raise the revision',
    rule: CHANGES,
    file: PLANS,
    find: 'revision: config.revision + 1,',
    replace: 'revision: config.revision,'
  },
  {
    name: 'a change does not wait until the one before is committed',
    rule: CHANGES,
    file: 'raft/dist/core/membership.js',
    find: 'if (configurations.index > state.commit || isJoint(configuration)) {',
    replace: 'if (isJoint(configuration)) {'
  },
  {
    name: 'a change whose majority does not answer is made',
    rule: CHANGES,
    file: PLANS,
    find: 'function checkServed(change, voters, facts) {',
    replace: 'function checkServed(change, voters, facts) { return;'
  },
  {
    name: 'a change is answered before it is committed',
    rule: CHANGES,
    file: ADMINISTRATION,
    find: 'return await new Promise((resolve, reject) => this.waiting.set(index, { term, resolve, reject }));',
    replace: 'return index;'
  },
  {
    name: 'a repeated command is answered before its change is committed',
    rule: CHANGES,
    file: ADMINISTRATION,
    find: 'configurationIndex <= appliedIndex && ',
    replace: ''
  },
  {
    name: 'anybody may change the cluster',
    rule: CHANGES,
    file: ADMINISTRATION,
    find: 'if (!this.config.admins.includes(id))',
    replace: 'if (false)'
  },
  {
    name: 'the last admin is removed',
    rule: CHANGES,
    file: ACCESS,
    find: 'if (admins.length === 1)',
    replace: 'if (false)'
  },
  {
    name: 'an admin is denied',
    rule: CHANGES,
    file: ACCESS,
    find: "if (admins.includes(id))\n            throw refused('denyClient'",
    replace: "if (false)\n            throw refused('denyClient'"
  },
  {
    name: 'the key of an admin joins as a peer',
    rule: CHANGES,
    file: PLANS,
    find: 'if (config.admins.includes(peerId) || config.clients?.includes(peerId) === true) {',
    replace: 'if (false) {'
  },
  {
    name: 'a denied client is served',
    rule: CHANGES,
    file: 'store/dist/peer/cluster.js',
    find: 'if (denied.includes(peerId))',
    replace: 'if (false)'
  },
  {
    name: 'a learner that has not caught up is promoted',
    rule: 'docs/membership.md, Caught up',
    file: PLANS,
    find: "if (!facts.hasCaughtUp(id))\n        throw refused(change, 'it has not caught up",
    replace: "if (false)\n        throw refused(change, 'it has not caught up"
  },
  {
    name: 'a peer joins without an invitation',
    rule: JOINING,
    file: PLANS,
    find: "throw refused(change, 'no admin has invited it');",
    replace: "return { peerId, addresses: config.members[0].addresses, replaces: '' };",
    and: [
      {
        file: REFUSAL,
        find: 'if (own.length === 0)\n        return',
        replace: 'if (own.length === 0)\n        return undefined &&'
      }
    ]
  },
  {
    name: 'a learner stays when its peer joins with another directory',
    rule: JOINING,
    file: PLANS,
    find: "changes: [{ type: 'learner', id }, ...removals(stale, facts)],",
    replace: "changes: [{ type: 'learner', id }],"
  },
  {
    name: 'a peer joins as a voter',
    rule: JOINING,
    file: PLANS,
    find: "changes: [{ type: 'learner', id }, ...removals(stale, facts)],",
    replace: "changes: [{ type: 'voter', id }, ...removals(stale, facts)],",
    and: [{ file: 'raft/dist/core/membership.js', find: 'if (empty !== undefined) {', replace: 'if (false) {' }]
  },
  {
    name: 'a replacement is not completed',
    rule: REPLACING,
    file: ADMINISTRATION,
    find: 'completeReplacement() {',
    replace: 'completeReplacement() { return;'
  },
  {
    name: 'a replacement keeps the old voter',
    rule: REPLACING,
    file: PLANS,
    find: "changes: [{ type: 'voter', id }, ...changes],",
    replace: "changes: [{ type: 'voter', id }],",
    and: [{ file: PLANS, find: 'const changes = removals([replaces], facts);', replace: 'const changes = [];' }]
  },
  {
    name: 'a replacement removes the old voter alone',
    rule: REPLACING,
    file: PLANS,
    find: "changes: [{ type: 'voter', id }, ...changes],",
    replace: 'changes,'
  },
  {
    name: 'a replaced voter is no member while it counts in a joint configuration',
    rule: REPLACING,
    file: PLANS,
    find: 'config: revised(config, self,',
    replace: 'config: revised(withoutMember(config, replaces), self,'
  },
  {
    name: 'a replacement does not wait until the new member has caught up',
    rule: REPLACING,
    file: PLANS,
    find: 'if (!hasReplaced && (!facts.hasCaughtUp(id) || !facts.answers(id)))',
    replace: 'if (!hasReplaced && !facts.answers(id))'
  },
  {
    name: 'a peer that has joined and applied nothing does not name its cluster',
    rule: JOINING,
    file: 'store/dist/server/group-server.js',
    find: "type: 'redirect',\n            clusterId: this.init.cluster().clusterId,",
    replace: "type: 'redirect',\n            clusterId: this.init.view.config?.clusterId ?? '',"
  },
  {
    name: 'a deposed leader answers that a change is in force',
    rule: 'docs/membership.md, Changes',
    file: 'store/dist/peer/administration.js',
    find: 'await node.readIndex();',
    replace: ''
  }
]

/** Only the mix `membership` changes the members. */
export const MEMBERSHIP_MUTANTS: readonly Mutant[] = RULES.map((mutant) => ({ ...mutant, mix: 'membership' }))
