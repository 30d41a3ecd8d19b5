/** Mutants of the mapping of pages for another thread. */
import type { Mutant } from '../mutants/mutant.js'

const THREADS = 'docs/threads.md, The mapping of a page'
const PAGE = 'dsm-client/dist/core/page.js'
const DIRECT = 'dsm-client/dist/core/direct-access.js'

export const MAPPING_MUTANTS: readonly Mutant[] = [
  {
    name: 'a writeback leaves its pages mapped for writing',
    rule: THREADS,
    file: 'dsm-client/dist/core/writeback-queue.js',
    find: 'page.writeProtect();',
    replace: ''
  },
  {
    name: 'pages that are taken away stay mapped',
    rule: THREADS,
    file: PAGE,
    find: "if (access === 'invalid')\n            this.unmap();",
    replace: "if (access === 'invalid')\n            ;"
  },
  {
    name: 'clean pages are mapped for writing',
    rule: THREADS,
    file: PAGE,
    find: "this.currentAccess === 'modified' && this.dirty && this.changed",
    replace: "this.currentAccess === 'modified'"
  },
  {
    name: 'pages are mapped beyond the end of the file',
    rule: THREADS,
    file: 'dsm-client/dist/core/page-table.js',
    find: 'page.map(space.size - page.index * page.pageSize);',
    replace: 'page.map(page.pageSize);'
  },
  {
    name: 'pages stay mapped where a pin has moved them from',
    rule: THREADS,
    file: 'dsm-client/dist/core/resident-pages.js',
    find: 'page.unmap();\n                frame.bytes.set',
    replace: 'frame.bytes.set'
  },
  {
    name: 'mapped pages are read after the lease',
    rule: 'docs/threads.md, The shared page table',
    file: DIRECT,
    find: 'return this.isLeaseValid();',
    replace: 'return true;'
  }
]
