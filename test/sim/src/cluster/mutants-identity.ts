/** Rules of docs/identity.md. */
import type { Mutant } from '../mutants/mutant.js'

const EVIDENCE = 'store/dist/peer/evidence.js'

export const IDENTITY_MUTANTS: readonly Mutant[] = [
  {
    name: 'the end of the log is not compared with what the peer acknowledged',
    rule: 'evidence 3',
    file: EVIDENCE,
    find: 'if (isBehind(lastTerm, lastIndex, known)) {',
    replace: 'if (false) {'
  },
  {
    name: 'another folder under the same key is accepted',
    rule: 'evidence 1',
    file: EVIDENCE,
    find: 'const known = this.peers.get(introduction.from);',
    replace:
      'const met = this.peers.get(introduction.from); const known = met?.incarnation === introduction.incarnation ? met : undefined;',
    and: [
      {
        file: EVIDENCE,
        find: 'const known = this.peers.get(from);\n        if (known === undefined) {',
        replace:
          'const known = this.peers.get(from);\n        if (known === undefined || known.incarnation !== incarnation) {'
      }
    ]
  },
  {
    name: 'an acknowledged entry counts as evidence before it is committed',
    rule: 'only committed acknowledgments are evidence',
    file: 'store/dist/peer/peer-core.js',
    find: 'const index = Math.min(match, committed);',
    replace: 'const index = Math.min(match, log.lastIndex);'
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
