/** What a client's coherence core counts. Bytes are page bytes, not frames. */
export interface CoherenceCounters {
  /** Accesses that needed nobody. */
  hits: number
  readFaults: number
  writeFaults: number
  /** Write faults on a page that was readable here: no bytes travel. */
  upgradeFaults: number
  grants: number
  invalidations: number
  downgrades: number
  /** Pages given up to another writer. */
  handovers: number
  /** Pages sent to be made durable, for whatever reason. */
  writebacks: number
  evictions: number
  /** Demotions that waited because the page was in use (docs/coherence.md, "Fairness"). */
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
    writebacks: 0,
    evictions: 0,
    holds: 0,
    bytesIn: 0,
    bytesOut: 0
  }
}
