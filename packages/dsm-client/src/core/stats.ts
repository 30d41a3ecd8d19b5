import { TakenPages } from './taken-pages.js'

/** Counters of a client's coherence core. Bytes are bytes of pages, without framing. */
export interface CoherenceCounters {
  /** Accesses that needed no fault. */
  hits: number
  readFaults: number
  writeFaults: number
  /** Write faults on a page that this client could read already: no bytes travel. */
  upgradeFaults: number
  grants: number
  invalidations: number
  downgrades: number
  /** Pages that went to another writer. */
  handovers: number
  /** The pages of these three kinds of orders that this client had access to. */
  readonly taken: TakenPages
  /** Pages sent to the leader to become durable, for any reason. */
  writebacks: number
  /** Writebacks among them that carried only the changed bytes of their page. */
  diffs: number
  evictions: number
  /** Pages that arrived before the program asked for them. Each was a read fault, too. */
  readAheads: number
  /** Pages among them that went again before the program read them. */
  readAheadsWasted: number
  /** Demotions that waited because the program was using the page (docs/coherence.md, "Fairness"). */
  holds: number
  bytesIn: number
  bytesOut: number
}

export function zeroCounters(): CoherenceCounters {
  return {
    hits: 0,
    readFaults: 0,
    writeFaults: 0,
    upgradeFaults: 0,
    grants: 0,
    invalidations: 0,
    downgrades: 0,
    handovers: 0,
    taken: new TakenPages(),
    writebacks: 0,
    diffs: 0,
    evictions: 0,
    readAheads: 0,
    readAheadsWasted: 0,
    holds: 0,
    bytesIn: 0,
    bytesOut: 0
  }
}
