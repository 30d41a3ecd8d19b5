import {
  MAX_CONTROL_FRAME_BYTES,
  PROTOCOL_CONTROL,
  PROTOCOL_VERSION,
  ROOT_GROUP,
  clientMessage,
  decodeFrame,
  encodeFrame,
  errorFromWire,
  leaderMessage,
  type AdminChange,
  type LeaderMessage,
  type Member,
  type QuireError
} from '@quire/protocol'
import type { RandomSource } from '@quire/testing'
import type { Coverage } from '../coverage.js'
import { SimProcess } from '../process.js'
import type { Scheduler } from '../scheduler.js'
import { nameOf } from './ids.js'
import type { SimNetwork } from './network.js'
import type { SimNode } from './network-types.js'

interface SimAdminInit {
  readonly id: string
  readonly scheduler: Scheduler
  readonly network: SimNetwork
  readonly coverage: Coverage
  readonly random: RandomSource
  /** The peers that may lead, one at least. */
  readonly peersToAsk: () => readonly Member[]
}

/** `unknown`: the admin has given up, and the change may be made or not. */
export type Outcome =
  | { readonly type: 'done'; readonly index: number }
  | { readonly type: 'refused'; readonly error: QuireError }
  | { readonly type: 'unknown' }

/** Longer than a leader lets a change wait for the one before. */
const ANSWER_MS = 8000
/** An admin who does not wait for the answer, and asks again. */
const IMPATIENT_MS = 800
/** Refusals that say nothing of the change itself. */
const AGAIN: ReadonlySet<string> = new Set(['UnavailableError', 'QuotaExceededError'])

/**
 * Plays an admin, with the messages of `quire members` and the like.
 *
 * It asks one peer after another, follows redirects to the leader, and repeats a command whose answer is lost.
 */
export class SimAdmin {
  private readonly process: SimProcess
  private readonly node: SimNode

  constructor(private readonly init: SimAdminInit) {
    const { id, scheduler, network, random } = init
    this.process = new SimProcess(nameOf(id), scheduler, random.fork('process'), 1)
    this.node = network.attach(id, this.process)
  }

  /** Asks for a change until a leader has decided, or the change is no longer wanted. */
  async change(change: AdminChange, isWanted: () => boolean): Promise<Outcome> {
    const { random, coverage, peersToAsk } = this.init
    let leader = ''
    while (isWanted()) {
      const known = peersToAsk()
      const answer = await this.ask(known.find(({ peerId }) => peerId === leader) ?? random.pick(known), change)
      leader = ''
      if (answer?.type === 'administered') return { type: 'done', index: answer.index }
      if (answer?.type === 'redirect') {
        leader = answer.leader
        if (leader !== '') continue
      } else if (answer?.type === 'refused') {
        const error = errorFromWire(answer.error)
        if (!AGAIN.has(error.name)) return { type: 'refused', error }
      } else {
        coverage.add('commands of admins without an answer')
      }
      await this.sleep(random.between(50, 400))
    }
    return { type: 'unknown' }
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.process.clock.schedule(ms, resolve))
  }

  /** Resolves with undefined if there is no answer. */
  private async ask({ peerId, addresses }: Member, change: AdminChange): Promise<LeaderMessage | undefined> {
    const timeout = new AbortController()
    const { random } = this.init
    const timeoutMs = random.is(0.3) ? random.exponential(IMPATIENT_MS) : ANSWER_MS
    const cancel = this.process.clock.schedule(timeoutMs, () => timeout.abort(new Error('no answer')))
    try {
      const stream = await this.node.dial(peerId, addresses, {
        protocol: PROTOCOL_CONTROL,
        maxFrameBytes: MAX_CONTROL_FRAME_BYTES,
        signal: timeout.signal
      })
      const message = { type: 'administer', version: PROTOCOL_VERSION, founding: '', change } as const
      return await new Promise<LeaderMessage | undefined>((resolve) => {
        stream.onFrame = (frame) => {
          resolve(decodeFrame(leaderMessage, frame).message)
          stream.close()
        }
        stream.onClose = () => resolve(undefined)
        timeout.signal.addEventListener('abort', () => stream.abort(timeout.signal.reason as Error))
        stream.send(encodeFrame(clientMessage, message, ROOT_GROUP))
      })
    } catch {
      // The dial failed.
      return undefined
    } finally {
      cancel()
    }
  }
}
