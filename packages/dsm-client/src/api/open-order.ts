/**
 * Opens go side by side. Giving a file up waits for those that are under way, because one of them may be of this file
 * under whatever path, and those that come later wait for it: the cluster hears of both in the order in which they
 * happened here. It waits for no answer of the cluster, so nobody waits longer than the opens before him may take.
 */
export class OpenOrder {
  private readonly opens = new Set<Promise<unknown>>()
  private left: Promise<void> = Promise.resolve()

  /** `action` ends when the cluster has answered, or nobody waits for its answer any more. */
  async open<T>(action: () => Promise<T>): Promise<T> {
    const opening = this.left.then(action)
    this.opens.add(opening)
    try {
      return await opening
    } finally {
      this.opens.delete(opening)
    }
  }

  /** `action` tells the cluster. Resolves when it was called. */
  leave(action: () => void): Promise<void> {
    this.left = Promise.all([this.left, Promise.allSettled(this.opens)]).then(action)
    return this.left
  }
}
