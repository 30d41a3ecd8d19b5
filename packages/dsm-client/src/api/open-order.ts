/**
 * Orders the opens of a client with the closes of its files.
 *
 * Opens run side by side. A close waits for the opens in flight, because one of them may open the same file by another
 * path, and later opens wait for the close. So the cluster hears of both in the order in which they happened here. A
 * close does not wait for the answer of the cluster, so it waits no longer than the opens already in flight.
 */
export class OpenOrder {
  private readonly opens = new Set<Promise<unknown>>()
  private left: Promise<void> = Promise.resolve()

  /** `action` ends when the cluster has answered, or when the caller stops waiting. */
  async open<T>(action: () => Promise<T>): Promise<T> {
    const opening = this.left.then(action)
    this.opens.add(opening)
    try {
      return await opening
    } finally {
      this.opens.delete(opening)
    }
  }

  /** Calls `action`, which tells the cluster of a close, in its turn. Resolves after the call. */
  leave(action: () => void): Promise<void> {
    this.left = Promise.all([this.left, Promise.allSettled(this.opens)]).then(action)
    return this.left
  }
}
