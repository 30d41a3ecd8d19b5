/** Mutants of the repair of damaged pages. */
import type { Mutant } from '../mutants/mutant.js'

const COPY = 'store/dist/pages/page-copy.js'
const REPAIRS = 'store/dist/pages/page-repairs.js'
const CHANGES = 'store/dist/state/page-changes.js'

const DAMAGE = 'docs/storage.md, Damage'

export const DAMAGE_MUTANTS: readonly Mutant[] = [
  {
    name: 'the copy of a peer that is behind is taken',
    rule: DAMAGE,
    file: COPY,
    find: "if (!isVersion && applied < Math.max(durableIndex, head?.version ?? 0))\n        return 'later';",
    replace: ''
  },
  {
    name: 'a copy that a later entry has changed is taken',
    rule: DAMAGE,
    file: COPY,
    find: 'applied > appliedIndex : copy.version > appliedIndex',
    replace: 'applied > appliedIndex : false'
  },
  {
    name: 'a page that has lost its head is a hole',
    rule: DAMAGE,
    file: 'store/dist/pages/page-rows.js',
    find: "if (backend.get('bodies', key) !== undefined)\n        throw orphanedBody(backend, key);",
    replace: ''
  },
  {
    name: 'a damaged page that an entry changes becomes zeros',
    rule: DAMAGE,
    file: CHANGES,
    find: 'this.store.lose(file.id, page, index);',
    replace: 'this.store.remove(file.id, page, page + 1);'
  },
  {
    name: 'a page is given up when one peer has no good copy',
    rule: DAMAGE,
    file: REPAIRS,
    find: '.every((member) => useless.has(member))',
    replace: '.some((member) => useless.has(member))'
  }
]
