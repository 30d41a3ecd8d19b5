/**
 * Mutants of diffs and their twins. Three rules are tested by unit tests alone, because hundreds of seeds do not need
 * them: a twin of another epoch or sequence is no base, a diff leaves the version before as it was, and a downgrade
 * does not end if the leader has lost the page when its diff is applied.
 */
import type { Mutant } from '../mutants/mutant.js'

const DIFFS = 'docs/coherence.md, Diffs'
const TWINS = 'dsm-client/dist/core/twins.js'
const OPERATIONS = 'store/dist/directory/page-operations.js'
const CHANGES = 'store/dist/state/page-changes.js'

/** A twin counts before the cluster has stored its bytes. After a broken connection, it may never do so. */
const EARLY_TWIN = { file: TWINS, find: 'twin?.isStored === true &&', replace: 'twin !== undefined &&' }

export const DIFF_MUTANTS: readonly Mutant[] = [
  {
    name: 'a diff is applied to whatever the page has',
    rule: DIFFS,
    file: CHANGES,
    find: 'ranges === undefined || seq <= stored + 1',
    replace: 'true',
    and: [EARLY_TWIN]
  },
  {
    name: 'a diff without its base is called stale',
    rule: DIFFS,
    file: CHANGES,
    find: "result: 'base' }",
    replace: "result: 'stale' }",
    and: [EARLY_TWIN]
  },
  {
    name: 'a diff without its base is called stored',
    rule: DIFFS,
    file: CHANGES,
    find: "result: 'base' }",
    replace: "result: 'stored' }",
    and: [EARLY_TWIN]
  },
  {
    name: 'a twin shares the memory of its page',
    rule: DIFFS,
    file: TWINS,
    find: 'page.frame.bytes.slice()',
    replace: 'page.frame.bytes'
  },
  {
    name: 'a diff stands for the tail of a truncate',
    rule: DIFFS,
    file: OPERATIONS,
    find: "(request.kind === 'fault' && this.state.hasBase(dirty))",
    replace: 'this.state.hasBase(dirty)'
  },
  {
    name: 'a handover takes a diff of any base',
    rule: DIFFS,
    file: OPERATIONS,
    find: 'this.state.hasBase(dirty)',
    replace: 'true',
    and: [EARLY_TWIN, { file: CHANGES, find: 'ranges === undefined || seq <= stored + 1', replace: 'true' }]
  }
]
