/**
 * Mutants of the rules of docs/identity.md.
 *
 * Some rules need the mistakes of two operators at once, or two processes of one peer, which the simulation does not
 * make. They have tests of their own:
 *
 * | rule | test |
 * |---|---|
 * | two processes of one boot are both refused (CONTESTED); the newer of two twins takes the place of the older | `evidence.test.ts`, `peer-links-evidence.test.ts` |
 * | evidence of earlier processes counts against a process that was accepted in ignorance | `evidence.test.ts`, `peer-links-evidence.test.ts` |
 * | a folder of an earlier term is refused | `evidence.test.ts` |
 * | a new folder takes no part before it is admitted; a leader admits it after a quorum round, when every other voter knows it | `peer-links-admission.test.ts` |
 * | a new folder counts when its admission is durable; until then it may be made anew, in one order | `peer-links-admission.test.ts`, `evidence.test.ts` |
 */
import type { Mutant } from '../mutants/mutant.js'

const IDENTITY = 'store/dist/peer/identity.js'
const EVIDENCE = 'store/dist/peer/evidence.js'

export const IDENTITY_MUTANTS: readonly Mutant[] = [
  {
    name: 'the end of the log is not compared with what the peer acknowledged',
    rule: 'evidence 3',
    file: EVIDENCE,
    find: 'if (isBehind(has, must)) {',
    replace: 'if (false) {'
  },
  {
    name: 'another folder under the same key is accepted',
    rule: 'evidence 1',
    file: EVIDENCE,
    find: 'const known = this.members.get(memberOf(introduction));',
    replace:
      'const met = this.members.get(memberOf(introduction)); const known = met?.incarnation === introduction.incarnation ? met : undefined;'
  },
  {
    name: 'a boot that another process has used is accepted',
    rule: 'evidence 2',
    file: EVIDENCE,
    find: 'if (boot === known.boot)',
    replace: 'if (false)'
  },
  {
    name: 'a peer says nothing of what it has itself',
    rule: 'evidence of a peer that led',
    file: IDENTITY,
    find: '...init.committedMark(), past: NO_MARK',
    replace: '...NO_MARK, past: NO_MARK'
  },
  {
    name: 'a peer says that it has what is not committed',
    rule: 'only committed entries are evidence',
    file: 'store/dist/peer/log-evidence.js',
    find: 'const index = Math.min(commitIndex, durableIndex);',
    replace: 'const index = durableIndex;'
  },
  {
    name: 'a peer takes over nothing that others remember',
    rule: 'evidence reaches every peer',
    file: EVIDENCE,
    find: 'learn(heard) {',
    replace: 'learn(heard) { return;'
  },
  {
    name: 'a hello is answered before what it told is durable',
    rule: 'evidence is durable before the answer',
    file: IDENTITY,
    find: 'this.learned.learn(introduction.from, introduction.addresses);\n        await this.save();',
    replace: 'this.learned.learn(introduction.from, introduction.addresses);\n        void this.save();'
  },
  {
    name: 'an acknowledged entry counts as evidence before it is committed',
    rule: 'only committed acknowledgments are evidence',
    file: 'store/dist/peer/log-evidence.js',
    find: 'const index = Math.min(matchIndex, committed);',
    replace: 'const index = Math.min(matchIndex, log.lastIndex);'
  },
  {
    name: 'the log is compared within one process',
    rule: 'evidence 3 applies to new processes',
    file: EVIDENCE,
    find: 'if (process === known.process)',
    replace: 'if (false)',
    and: [{ file: EVIDENCE, find: 'if (boot === known.boot)', replace: 'if (false)' }]
  }
]
