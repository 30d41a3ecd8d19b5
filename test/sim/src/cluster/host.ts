import type { FrameStream } from '@quire/protocol'
import type { SimProcess } from '../process.js'

/** A machine on the network, with the newest process on it. */
export interface Host {
  readonly id: string
  readonly process: SimProcess
  readonly handlers: Map<string, (stream: FrameStream) => void>
  /** The machine answers for a process that is gone. */
  isUp: boolean
}
