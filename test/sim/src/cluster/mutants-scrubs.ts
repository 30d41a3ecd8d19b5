/** Mutants of the scrub and the comparison of states. */
import type { Mutant } from '../mutants/mutant.js'

const APPLIER = 'store/dist/pages/applier.js'
const RULE = 'docs/storage.md, Scrub and comparison'

export const SCRUB_MUTANTS: readonly Mutant[] = [
  {
    name: 'the state to compare has further entries of the batch',
    rule: RULE,
    file: APPLIER,
    find: 'if (freezing !== undefined)\n                return freezing.then(() => this.applyFrom(entries, at));',
    replace: '',
    and: [
      {
        file: APPLIER,
        find: 'this.refuseWhenStopped();\n            const freezing = this.freezeForComparison();',
        replace: 'this.refuseWhenStopped();'
      }
    ]
  },
  {
    name: 'entries are applied while a comparison waits for a checkpoint',
    rule: RULE,
    file: APPLIER,
    find: 'return this.comparing === undefined ? undefined : this.flushing;',
    replace: 'return undefined;'
  },
  {
    name: 'a checkpoint keeps removed records',
    rule: 'docs/storage.md, Checkpoints',
    file: 'store/dist/pages/memtable.js',
    find: 'const key = recordKey(kind, a, b);',
    replace: 'const key = recordKey(kind, a, b);\n            if (value === null)\n                continue;'
  },
  {
    name: 'decoded bytes are Buffers, whose slice does not copy',
    rule: 'docs/storage.md, Checkpoints',
    file: 'protocol/dist/codec.js',
    find: 'return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + start, length);',
    replace: 'return this.bytes.subarray(start, start + length);'
  },
  {
    name: 'a comparison opens its view late',
    rule: RULE,
    file: 'store/dist/peer/group.js',
    find: 'onCompare: (index, isStored) => group.scrubbing.stored(index, isStored),',
    replace: 'onCompare: (index, isStored) => void clock.schedule(50, () => group.scrubbing.stored(index, isStored)),'
  },
  {
    name: 'reports for different entries are compared',
    rule: RULE,
    file: 'store/dist/peer/comparison.js',
    find: 'if (report?.index === this.index)',
    replace: 'if (report !== undefined)'
  }
]
