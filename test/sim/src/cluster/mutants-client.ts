/** Mutants of the client's rules. */
import type { Mutant } from '../mutants/mutant.js'

const COHERENCE = 'dsm-client/dist/core/coherence.js'
const DURABILITY = 'dsm-client/dist/core/page-durability.js'
const DEMOTIONS = 'dsm-client/dist/core/demotions.js'
const FAULTS = 'dsm-client/dist/core/page-faults.js'
const DISCARDS = 'dsm-client/dist/core/discarded-ranges.js'
const TABLE = 'dsm-client/dist/core/page-table.js'
const FAULT_QUEUE = 'dsm-client/dist/core/fault-queue.js'
const PAGE_RANGES = 'dsm-client/dist/core/page-ranges.js'
const RUNS = 'docs/coherence.md, Runs'
const SPACE = 'dsm-client/dist/api/address-space.js'
const SESSION = 'dsm-client/dist/session/session.js'
const RELAYED = 'docs/ARCHITECTURE.md, Relays'
const HIDDEN_LEADERS = 'hidden leaders'
const KEEP_ALIVE = 'dsm-client/dist/session/keep-alive.js'

const LEASES: readonly Mutant[] = [
  {
    name: 'no term check at the client',
    rule: 'rule 3',
    file: 'dsm-client/dist/session/handshake.js',
    find: 'cluster.fence = welcome.term;',
    replace: '',
    // The quorum round of a client that registers again would hide it.
    and: [
      {
        file: 'store/dist/server/registrations.js',
        find: 'rounds.confirm(connection, (confirmed) => guard(',
        replace: '((_, then) => then(true))(connection, (confirmed) => guard('
      }
    ]
  },
  {
    name: 'lease counted from the reply',
    rule: 'leases',
    file: KEEP_ALIVE,
    find: 'this.lease.answered(nonce);',
    replace: 'this.lease.unanswered.set(nonce, this.now);\n        this.lease.answered(nonce);'
  },
  {
    name: 'lease counted from the reply to a register',
    rule: 'leases',
    file: SESSION,
    find: 'this.keepAlive.begin(registeredAt, registered.ttlMs);',
    replace: 'this.keepAlive.begin(this.components.clock.now(), registered.ttlMs);'
  },
  {
    name: 'lease not checked after the copy',
    rule: 'rule 16',
    file: 'dsm-client/dist/api/page-io.js',
    find: 'if (host.isLeaseValid())\n            return;',
    replace: 'return;'
  }
]

const RELAYS: readonly Mutant[] = [
  {
    name: 'no relay is used',
    rule: RELAYED,
    mix: HIDDEN_LEADERS,
    file: 'dsm-client/dist/session/routes.js',
    find: 'if (this.answers.get(leader) !== false)',
    replace: ''
  },
  {
    name: 'a relayed session stays on its relay',
    rule: RELAYED,
    mix: HIDDEN_LEADERS,
    file: SESSION,
    find: 'this.searchDirectPath(connection);',
    replace: 'undefined;'
  }
]

const THIN_LINES: readonly Mutant[] = [
  {
    name: 'any word of the leader prolongs the lease',
    rule: 'leases',
    file: SESSION,
    find: 'this.keepAlive.heard();',
    replace: 'this.keepAlive.begin(this.components.clock.now(), this.init.ttlMs);\n        this.keepAlive.heard();'
  },
  {
    name: 'the client sends page bytes whatever its line carries',
    rule: 'thin lines',
    file: 'dsm-client/dist/session/bulk-sender.js',
    find: 'this.window.hasRoom(this.queue[sent].length)',
    replace: 'true',
    and: [{ file: 'dsm-client/dist/core/writeback-queue.js', find: 'this.windowBytes = windowBytes;', replace: '' }]
  },
  {
    name: 'the client does not say what it has received',
    rule: 'thin lines',
    file: 'dsm-client/dist/session/lane-pair.js',
    find: 'this.receipts.arrived(frame.length);',
    replace: ';'
  }
]

const ORDERED: readonly Mutant[] = [
  {
    name: 'acknowledge before evict: the page stays after its invalidation',
    rule: 'rule 13',
    file: DEMOTIONS,
    find: "drop(page);\n        send('control', { type: 'invalidateAck'",
    replace: "send('control', { type: 'invalidateAck'"
  },
  {
    name: 'unmap after write: a revoked page stays writable until it is durable',
    rule: 'rule 12',
    file: DEMOTIONS,
    find: 'counters.handovers++;\n            page.invalidate();',
    replace: 'counters.handovers++;\n            if (!page.dirty)\n                page.invalidate();'
  },
  {
    name: 'a page that is asked for again counts as dropped',
    rule: 'docs/coherence.md, Dropped copies',
    file: 'dsm-client/dist/core/dropped-copies.js',
    find: '.filter((index) => !this.init.isHeld(file, index))',
    replace: ''
  },
  {
    name: 'downgrade without write-protect',
    rule: 'rule 12',
    file: DEMOTIONS,
    find: 'page.downgrade();',
    replace: ''
  },
  {
    name: 'dirty bytes forgotten when they leave',
    rule: 'rule 12',
    file: DEMOTIONS,
    find: "send('bulk', { type: 'ownerAckDirty', op: demotion.op, pages: [writebacks.give(page)] });",
    replace:
      "send('bulk', { type: 'ownerAckDirty', op: demotion.op, pages: [writebacks.give(page)] });\n            page.dirty = false;"
  },
  {
    name: 'an order is obeyed before the grant that it follows',
    rule: 'rule 4',
    file: DEMOTIONS,
    find: 'if (page.req !== 0 && page.req === demotion.after)\n            return;',
    replace: ''
  },
  {
    name: 'a run of orders follows the grant of its first page',
    rule: RUNS,
    file: DEMOTIONS,
    find: 'const after = message.after === 0 ? 0 : message.after + i;',
    replace: 'const after = message.after;'
  },
  {
    name: 'an order does not wait for pins',
    rule: 'pins',
    file: DEMOTIONS,
    find: "if (demotion.type === 'downgrade' ? page.writePins > 0 : page.pinned) {",
    replace: 'if (false) {'
  },
  {
    name: 'whole file given up before its writes are acknowledged',
    rule: 'demotion order',
    file: DEMOTIONS,
    find: 'if (pages.some((page) => page.dirty))\n            return;',
    replace: ''
  },
  {
    name: 'whole file given up while grants of it are on their way',
    rule: 'turns of whole files',
    file: DEMOTIONS,
    find: 'if (pages.some((page) => page.pinned || page.req !== 0))',
    replace: 'if (pages.some((page) => page.pinned))'
  }
]

const GRANTS: readonly Mutant[] = [
  {
    name: "a grant replaces the owner's newer bytes",
    rule: 'rule 13',
    file: FAULTS,
    find: 'const ownNewer = sameEpoch && (page.dirty || page.version > version);',
    replace: 'const ownNewer = false;'
  },
  {
    name: 'a grant under another epoch keeps dirty bytes',
    rule: 'rule 13',
    file: FAULTS,
    find: 'const sameEpoch = message.owner && page.epoch === message.epoch;',
    replace: 'const sameEpoch = true;'
  },
  {
    name: 'a grant counts for another request of its page',
    rule: 'rule 4',
    file: FAULTS,
    find: 'const req = message.req + i;',
    replace:
      'const req = this.faults.has(message.req + i) ? message.req + i : ([...this.faults].find(([, { file, index }]) => file === message.file && index === message.page + i)?.[0] ?? message.req + i);'
  },
  {
    name: 'the first page of a run ends the whole request',
    rule: RUNS,
    file: FAULTS,
    find: 'this.grantedPage(message, i, content);',
    replace: 'i === 0 && this.grantedPage(message, i, content);'
  },
  {
    name: 'acknowledgement cleans a later version',
    rule: 'rule 14',
    file: DURABILITY,
    find: 'if (!page.changed)\n                    page.dirty = false;',
    replace: 'page.dirty = false;'
  },
  {
    name: 'what is written under a pin is taken for written back',
    rule: 'rule 14',
    file: 'dsm-client/dist/core/writeback-queue.js',
    find: 'page.changed = page.writePins > 0;',
    replace: 'page.changed = false;'
  },
  {
    name: 'a flush ends with an older writeback',
    rule: 'msync means durable',
    file: 'dsm-client/dist/core/page.js',
    find: 'seq: this.isUnderWay ? this.seq : this.seq + 1',
    replace: 'seq: this.seq'
  },
  {
    name: 'requests are not repeated after a reconnection',
    rule: 'rule 15',
    file: 'dsm-client/dist/session/request-queue.js',
    find: 'this.unsent = [...this.pending.keys()];',
    replace: 'this.unsent = [];'
  },
  {
    name: 'a flush is not repeated after a reconnection',
    rule: 'rule 15',
    file: COHERENCE,
    find: 'if (page.dirty && !page.writing && (given || page.flushes.length > 0))',
    replace: 'if (false)'
  },
  {
    name: 'failed flush releases the page',
    rule: 'msync means durable',
    file: DURABILITY,
    find: '// A failed flush never gives the page up',
    replace: 'page.dirty = false; // A failed flush never gives the page up'
  }
]

const RANGES: readonly Mutant[] = [
  {
    name: 'evict before the write finished',
    rule: 'demotion order',
    file: SPACE,
    find: 'await flushPages(this.file, offset, bytes, signal);',
    replace: 'await startWriting(this.file, offset, bytes, signal);',
    and: [
      {
        file: PAGE_RANGES,
        find: 'if (page.dirty || page.isHeld || page.demotion !== undefined)',
        replace: 'if (page.isHeld)'
      }
    ]
  },
  {
    name: 'fault maps a page again that is about to be evicted',
    rule: 'fault between unmap and evict',
    file: FAULT_QUEUE,
    find: 'if (page.req !== 0 || page.waiters.length === 0 || page.evicting > 0)',
    replace: 'if (page.req !== 0 || page.waiters.length === 0)',
    and: [
      {
        file: TABLE,
        find: 'if (!page.allows(waiter.access) || page.evicting > 0)',
        replace: 'if (!page.allows(waiter.access))'
      },
      {
        file: TABLE,
        find: 'serveAll(page) {\n        if (page.evicting > 0)\n            return;',
        replace: 'serveAll(page) {'
      }
    ]
  },
  {
    name: 'even_cows ignored: a private copy survives a truncation',
    rule: 'even_cows = true',
    file: DISCARDS,
    find: 'for (const discardCopies of discard.doomed)\n                discardCopies();',
    replace: ';'
  },
  {
    name: 'even_cows ignored: an unmap leaves private copies',
    rule: 'even_cows = true',
    file: SPACE,
    find: 'if (evenCows)',
    replace: 'if (false)'
  },
  {
    name: 'even_cows ignored: an unmap takes private copies',
    rule: 'even_cows = false',
    file: SPACE,
    find: 'evenCows = false',
    replace: 'evenCows = true'
  },
  {
    name: 'even_cows ignored: an invalidation takes private copies',
    rule: 'even_cows = false',
    file: DEMOTIONS,
    find: 'counters.invalidations++;',
    replace:
      'counters.invalidations++;\n        for (const copies of this.init.table.space(page.file).privateCopies)\n            copies.discard(page.index, page.index + 1);'
  },
  {
    name: 'a private write goes to the file',
    rule: 'private mappings are private',
    file: 'dsm-client/dist/core/private-copies.js',
    find: 'frame.bytes.set(bytes);\n        this.copies.set(index, { frame, pins: 0, isGone: false });',
    replace: 'this.copies.set(index, { frame: { bytes }, pins: 1, isGone: false });'
  },
  {
    name: 'unmapped only once: a grant older than a discard is used',
    rule: 'truncate, second unmap',
    file: FAULTS,
    find: 'const isVoid = message.discard < page.discardedBy;',
    replace: 'const isVoid = false;'
  },
  {
    name: 'a grant that overtakes the end of a discard goes with it',
    rule: 'discards, rule 4',
    file: DISCARDS,
    find: ' && !discard.renewed.has(page)',
    replace: ''
  },
  {
    name: 'discard acknowledged while its pages are readable',
    rule: 'files that shrink, 2',
    file: DISCARDS,
    find: 'else\n                page.invalidate();',
    replace: ''
  },
  {
    name: 'discard does not wait for pins',
    rule: 'files that shrink, 2',
    file: DISCARDS,
    find: 'if (isPinned)\n            return;',
    replace: ''
  },
  {
    name: 'the bound of the size stays',
    rule: 'files that shrink, 2',
    file: DISCARDS,
    find: 'space.size = Math.min(space.size, size);',
    replace: ''
  },
  {
    name: 'a size is believed that a discard has overtaken',
    rule: 'files that shrink',
    file: 'dsm-client/dist/session/file-sizes.js',
    find: 'if (space.discardsSeen !== discardsSeen)\n                continue;\n            space.size = Math.max(space.size, stat.size);',
    replace: 'space.size = Math.max(space.size, stat.size);'
  },
  {
    name: 'a write that begins again writes its pages twice',
    rule: 'found by this simulation',
    file: 'dsm-client/dist/api/page-io.js',
    find: 'if (skipped?.has(next) !== true)',
    replace: 'if (true)'
  },
  {
    name: 'tryWrite writes behind the write-back that it sets off',
    rule: 'found by this simulation',
    file: TABLE,
    find: 'this.changed(page);\n        return page.frame.bytes;',
    replace: 'this.changed(page);\n        this.frames.writeBackEarly();\n        return page.frame.bytes;'
  },
  {
    name: "a lost session's private copies stay in memory",
    rule: 'found by this simulation',
    file: TABLE,
    find: 'copies.discard(0, Infinity);',
    replace: ';'
  },
  {
    name: 'a pin is in the way of its own pages',
    rule: 'found by this simulation',
    file: 'dsm-client/dist/core/resident-pages.js',
    find: "return this.compact(space, pages) ? 'done' : 'noRoom';",
    replace: "return 'noRoom';"
  }
]

const NAMES: readonly Mutant[] = [
  {
    name: 'a file is named before it is flushed',
    rule: 'names',
    file: 'dsm-client/dist/api/file.js',
    find: 'await this.sync(options);',
    replace: ''
  }
]

export const CLIENT_MUTANTS: readonly Mutant[] = [
  ...LEASES,
  ...RELAYS,
  ...THIN_LINES,
  ...ORDERED,
  ...GRANTS,
  ...RANGES,
  ...NAMES
]
