import { isSameOwner, type Owners } from './owners.js'
import type { FileId, PageOwner } from './view.js'

/** Neighboring pages with equal owners: `first` up to but without `end`. */
interface Pending {
  readonly file: FileId
  readonly first: number
  end: number
  readonly owner: PageOwner
}

/** Gives pages their owners one by one, and changes the table once for neighbors that get equal ones. */
export class OwnerBatch {
  /** The newest pages, which are not in the table yet. */
  private pending: Pending | undefined

  constructor(private readonly owners: Owners) {}

  get(file: FileId, page: number): PageOwner {
    const { pending } = this
    const isPending = pending?.file === file && page >= pending.first && page < pending.end
    return isPending ? pending.owner : this.owners.get(file, page)
  }

  set(file: FileId, page: number, owner: PageOwner): void {
    const { pending } = this
    if (pending?.file === file && pending.end === page && isSameOwner(pending.owner, owner)) {
      pending.end++
      return
    }
    this.settle()
    this.pending = { file, first: page, end: page + 1, owner }
  }

  /** Must be called after the last page. */
  settle(): void {
    const { pending } = this
    if (pending === undefined) return
    this.pending = undefined
    this.owners.assign(pending.file, pending.first, pending.end, pending.owner)
  }
}
