import type { PeerCore } from '@quire/store/internal'

/**
 * Watches a folder that must not take part.
 *
 * As long as the folder stays as it is, no peer has answered it.
 */
export class Bystander {
  private before: { readonly term: number; readonly lastIndex: number } | undefined

  /** A process has opened the folder. Only the first one counts. */
  opened(core: PeerCore): void {
    const { hardState, lastIndex } = core.root.replica.log
    this.before ??= { term: hardState.term, lastIndex }
  }

  /** How the folder has changed since the first process opened it; undefined if it has not. */
  change(core: PeerCore | undefined): string | undefined {
    const { node } = core?.root ?? {}
    if (node === undefined || this.before === undefined) return undefined
    const { term, lastIndex, leader } = node.status()
    const { before } = this
    if (term === before.term && lastIndex === before.lastIndex && leader === undefined) return undefined
    return `term ${before.term} -> ${term}, last entry ${before.lastIndex} -> ${lastIndex}, leader ${leader}`
  }
}
