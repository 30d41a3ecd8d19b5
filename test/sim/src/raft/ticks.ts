/** The application's part of a configuration: the length of a tick on every node. */
import { decode, encode, f64, raftConfiguration, struct } from '@quire/protocol'
import type { Entry } from '@quire/raft'

const ticks = struct({ tickMs: f64 })

export function encodeTick(tickMs: number): Uint8Array {
  return encode(ticks, { tickMs })
}

function tickOf(context: Uint8Array): number {
  return decode(ticks, context).tickMs
}

/** Reads it from the entry of a configuration. */
export function tickIn(entry: Entry): number {
  return tickOf(decode(raftConfiguration, entry.data).context)
}
