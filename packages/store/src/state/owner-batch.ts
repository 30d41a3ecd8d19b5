import { isSameOwner, type Owners } from './owners.js'
import type { FileId, PageOwner } from './view.js'

/** Gives pages their owners one by one, and changes the table once for neighbors that get equal ones. */
export class OwnerBatch {
  private file: FileId = 0
  private first = 0
  private end = 0
  private owner: PageOwner = { session: 0, epoch: 0, seq: 0 }

  constructor(private readonly owners: Owners) {}

  get(file: FileId, page: number): PageOwner {
    if (file === this.file && page >= this.first && page < this.end) return this.owner
    return this.owners.get(file, page)
  }

  set(file: FileId, page: number, owner: PageOwner): void {
    if (file !== this.file || page !== this.end || !isSameOwner(owner, this.owner)) {
      this.settle()
      this.file = file
      this.first = page
      this.owner = owner
    }
    this.end = page + 1
  }

  /** Must be called after the last page. */
  settle(): void {
    if (this.first < this.end) this.owners.assign(this.file, this.first, this.end, this.owner)
    this.first = this.end
  }
}
