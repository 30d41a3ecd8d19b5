/** Mutants of pages of zeros. */
import type { Mutant } from '../mutants/mutant.js'

const RULE = 'docs/storage.md, Pages of zeros'

export const ZERO_MUTANTS: readonly Mutant[] = [
  {
    name: 'zeros over data leave the body',
    rule: RULE,
    file: 'store/dist/pages/memtable.js',
    find: "yield { table: 'bodies', key, value: body };",
    replace: "if (body !== undefined)\n                    yield { table: 'bodies', key, value: body };"
  },
  {
    name: 'zeros make a hole',
    rule: RULE,
    file: 'store/dist/state/page-changes.js',
    find: 'this.store.write(file.id, page, { version: index, bytes: isZeros(stored) ? undefined : stored });',
    replace:
      'if (isZeros(stored))\n            this.store.remove(file.id, page, page + 1);\n        else\n            this.store.write(file.id, page, { version: index, bytes: stored });'
  },
  {
    name: 'a page of zeros has no version on the disk',
    rule: RULE,
    file: 'store/dist/pages/page-reader.js',
    find: 'return { version, bytes: undefined };',
    replace: 'return { version: 0, bytes: undefined };'
  },
  {
    name: 'a diff of zeros counts as one of missing rows',
    rule: RULE,
    file: 'store/dist/state/page-changes.js',
    find: 'if (stored === undefined && seq > 1) {',
    replace: 'if (stored?.bytes === undefined && seq > 1) {'
  },
  {
    name: 'a snapshot leaves pages of zeros out',
    rule: RULE,
    file: 'store/dist/pages/snapshot-pieces.js',
    find: 'checkPage(this.name, key, head, body);',
    replace: 'checkPage(this.name, key, head, body);\n            if (body === undefined)\n                continue;'
  }
]
