/** Mutants of the state machine and the log below it. */
import type { Mutant } from '../mutants/mutant.js'

const CHANGES = 'store/dist/state/page-changes.js'
const REQUESTS = 'store/dist/state/request-applier.js'
const ROWS = 'store/dist/state/request-rows.js'

export const LOG_MUTANTS: readonly Mutant[] = [
  {
    name: 'an entry counts before it is flushed',
    rule: 'visible means durable',
    file: 'raft/dist/core/replication.js',
    find: 'id === state.id ? state.log.durableIndex :',
    replace: 'id === state.id ? state.log.lastIndex :'
  },
  {
    name: 'no check of owner and epoch on writeback',
    rule: 'rule 11',
    file: CHANGES,
    find: 'if (file === undefined || !isOwner || ',
    replace: 'if (file === undefined || '
  },
  {
    name: 'a page is given to a session that has ended',
    rule: 'rule 10',
    file: CHANGES,
    find: '(to === 0 || this.sessions.get(to)?.files.has(fileId) === true) &&',
    replace: '',
    and: [
      {
        file: 'store/dist/directory/page-operations.js',
        find: 'const to = this.state.mayHold(requester, file) ? requester : 0;',
        replace: 'const to = requester;'
      }
    ]
  },
  {
    name: 'expiry leaves the owner on record',
    rule: 'rule 11',
    file: REQUESTS,
    find: 'owners.releaseSession(id);',
    replace: ''
  },
  {
    name: 'released pages are forgotten in the middle of an entry',
    rule: 'replicas are equal',
    file: 'store/dist/state/owners.js',
    find: 'this.set(file, first, end, { session: 0, epoch: value.epoch + 1, seq: 0 });',
    replace: 'this.assign(file, first, end, { session: 0, epoch: value.epoch + 1, seq: 0 });'
  },
  {
    name: 'a transfer keeps the epoch',
    rule: 'rule 11',
    file: CHANGES,
    find: '{ session: to, epoch: fromEpoch + 1, seq: 0 }',
    replace: '{ session: to, epoch: fromEpoch, seq: 0 }'
  },
  {
    name: 'retry applied twice',
    rule: 'requests',
    file: REQUESTS,
    find: 'answers.remember(answer);',
    replace: ''
  },
  {
    name: 'extend shows old bytes: pages beyond the end stay',
    rule: 'end of file',
    file: CHANGES,
    find: 'this.release(file, first, end);\n        this.store.remove(file.id, first, end);',
    replace: 'this.release(file, first, end);'
  },
  {
    name: 'extend shows old bytes: the cut page keeps its tail',
    rule: 'end of file',
    file: CHANGES,
    find: 'if (end < stored.length)',
    replace: 'if (false)'
  },
  {
    name: 'owners survive a discard',
    rule: 'files that shrink, 3',
    file: CHANGES,
    find: 'this.release(file, first, end);\n        this.store.remove(file.id, first, end);',
    replace: 'this.store.remove(file.id, first, end);'
  },
  {
    name: 'the cut page keeps its owner',
    rule: 'files that shrink, 3',
    file: CHANGES,
    find: 'this.release(file, cut, cut + 1);',
    replace: ''
  },
  {
    name: 'orphans are never collected',
    rule: 'names',
    file: CHANGES,
    find: 'if (file !== undefined && !file.linked && file.sessions.size === 0)',
    replace: 'if (false)'
  },
  {
    name: 'a file goes while somebody has it open',
    rule: 'names',
    file: CHANGES,
    find: 'if (file !== undefined && !file.linked && file.sessions.size === 0)',
    replace: 'if (file !== undefined && !file.linked)'
  },
  {
    name: 'an unnamed file outlives its session',
    rule: 'names',
    file: CHANGES,
    find: 'if (file !== undefined && !file.linked && file.sessions.size === 0)',
    replace: "if (file !== undefined && !file.linked && file.path !== '' && file.sessions.size === 0)"
  },
  {
    name: 'a file is named beside what its path led to',
    rule: 'names',
    file: ROWS,
    find: 'unlink(path, tables);\n            namespace.name(file, path);',
    replace: 'namespace.name(file, path);',
    // An assertion behind it would stop the peer.
    and: [
      {
        file: 'store/dist/state/namespace.js',
        find: 'assert(!this.byPath.has(record.path),',
        replace: 'void (!this.byPath.has(record.path),'
      }
    ]
  }
]
