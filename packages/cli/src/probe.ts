/** Asks a peer one question without opening a session. */
import {
  DialError,
  createLibp2pNetwork,
  generatePrivateKey,
  parsePeerAddress,
  shortenIds,
  type Libp2pNetwork,
  type PrivateKey
} from '@quire/net'
import {
  FEATURES,
  MAX_CONTROL_FRAME_BYTES,
  NotAuthorizedError,
  PROTOCOL_CONTROL,
  PROTOCOL_VERSION,
  ROOT_GROUP,
  QuireError,
  UnavailableError,
  clientMessage,
  decodeFrame,
  encodeFrame,
  errorFromWire,
  leaderMessage,
  type AdminChange,
  type ClientMessage,
  type FrameStream,
  type LeaderMessage,
  type LeaderMessageOf,
  type Member
} from '@quire/protocol'

export type StatusAnswer = LeaderMessageOf<'status'>

/** An answer, and the address that it came from. */
export interface Answered {
  readonly answer: StatusAnswer
  readonly address: string
}

export type Administered = LeaderMessageOf<'administered' | 'redirect'>
export type AccessAnswer = Omit<LeaderMessageOf<'access'>, 'type'>

export interface Probe {
  /** This client's PeerId. */
  readonly id: string
  status(peerId: string, addresses: readonly string[], timeoutMs: number): Promise<Answered>
  /** Asks a peer for a change of the cluster. The leader makes it, others redirect. */
  administer(to: Member, founding: string, change: AdminChange, timeoutMs: number): Promise<Administered>
  /** Asks a peer for the members. The leader answers, others redirect. */
  roster(to: Member, timeoutMs: number): Promise<LeaderMessageOf<'roster' | 'redirect'>>
  /** Asks a peer for the access rules of ids after `after`. */
  access(to: Member, after: string, timeoutMs: number): Promise<AccessAnswer>
  /** Whether the peer leads and serves. */
  serves(address: string, timeoutMs: number): Promise<boolean>
  close(): Promise<void>
}

interface Target {
  readonly peerId: string
  readonly addresses: readonly string[]
  readonly answered?: (address: string) => void
}

export async function createProbe(privateKey?: PrivateKey): Promise<Probe> {
  const network = await createLibp2pNetwork({ privateKey: privateKey ?? (await generatePrivateKey()), listen: [] })
  return {
    id: network.peerId,
    async status(peerId, addresses, timeoutMs) {
      const question = { type: 'status', version: PROTOCOL_VERSION, seq: 1 } as const
      // The network does not call `answered` if it still has the connection of an earlier question.
      let address = addresses[0]!
      const answered = (at: string): void => {
        address = at
      }
      const answer = await ask(network, { peerId, addresses, answered }, timeoutMs, question)
      return { answer: expect(answer, 'status'), address }
    },
    async administer(to, founding, change, timeoutMs) {
      const message = { type: 'administer', version: PROTOCOL_VERSION, founding, change } as const
      return expect(await ask(network, to, timeoutMs, message), 'administered', 'redirect')
    },
    async roster(to, timeoutMs) {
      return expect(
        await ask(network, to, timeoutMs, { type: 'roster', version: PROTOCOL_VERSION }),
        'roster',
        'redirect'
      )
    },
    async access(to, after, timeoutMs) {
      return expect(await ask(network, to, timeoutMs, { type: 'access', version: PROTOCOL_VERSION, after }), 'access')
    },
    async serves(address, timeoutMs) {
      const hello = {
        type: 'hello',
        version: PROTOCOL_VERSION,
        features: FEATURES,
        clusterId: '',
        founding: '',
        lane: 'control',
        fence: 0,
        attach: 0
      } as const
      const { peerId } = parsePeerAddress(address)
      return (await ask(network, { peerId, addresses: [address] }, timeoutMs, hello)).type === 'welcome'
    },
    close: () => network.close()
  }
}

/** Returns the answer if it is of one of these types. Throws the error of a refusal. */
function expect<T extends LeaderMessage['type']>(answer: LeaderMessage, ...types: readonly T[]): LeaderMessageOf<T> {
  if (answer.type === 'refused') throw errorFromWire(answer.error)
  if ((types as readonly string[]).includes(answer.type)) return answer as LeaderMessageOf<T>
  throw new UnavailableError(`it answered with ${answer.type}`)
}

/** Sends one message on a new stream and resolves with the first answer. */
async function ask(
  network: Libp2pNetwork,
  { peerId, addresses, answered }: Target,
  timeoutMs: number,
  message: ClientMessage
): Promise<LeaderMessage> {
  // It takes whole milliseconds only.
  const signal = AbortSignal.timeout(Math.ceil(timeoutMs))
  let stream: FrameStream | undefined
  try {
    const dialled = await network.dial(peerId, addresses, {
      protocol: PROTOCOL_CONTROL,
      maxFrameBytes: MAX_CONTROL_FRAME_BYTES,
      answered,
      signal
    })
    stream = dialled
    return await new Promise<LeaderMessage>((resolve, reject) => {
      dialled.onFrame = (frame) => {
        try {
          resolve(decodeFrame(leaderMessage, frame).message)
        } catch (error) {
          reject(error)
        }
      }
      dialled.onClose = (reason) => reject(reason ?? new UnavailableError('it closed the stream'))
      signal.addEventListener('abort', () => reject(new NoAnswerError(timeoutMs)))
      dialled.send(encodeFrame(clientMessage, message, ROOT_GROUP))
    })
  } catch (error) {
    throw signal.aborted ? new NoAnswerError(timeoutMs) : error
  } finally {
    stream?.close()
  }
}

/** A peer did not answer in time. */
class NoAnswerError extends Error {
  override readonly name = 'NoAnswerError'
  constructor(timeoutMs: number) {
    super(`no answer within ${Math.round(timeoutMs / 100) / 10} s`)
  }
}

/** Errors of libp2p and the system, and what each means to an operator. */
const MEANINGS: readonly [pattern: RegExp, meaning: string][] = [
  [/ECONNREFUSED/, 'connection refused'],
  [/EHOSTUNREACH|ENETUNREACH/, 'no route to the host'],
  [/ENOTFOUND|EAI_AGAIN/, 'unknown host name'],
  [/ETIMEDOUT|timed out|aborted/i, 'no answer'],
  [/it may not know this node/, 'refused: this client may not be listed']
]

/** Says in a few words why a peer gave no answer. */
export function reasonOf(error: Error): string {
  // The whole message would repeat this client's id.
  if (error instanceof NotAuthorizedError) return `refused: ${shortenIds(error.reason)}`
  if (error instanceof QuireError && !(error instanceof UnavailableError))
    return `refused: ${shortenIds(error.message)}`
  if (!(error instanceof DialError)) return shortenIds(error.message)
  // `reason` has one part per address.
  const reasons = error.reason.split('; ').map((reason) => {
    return MEANINGS.find(([pattern]) => pattern.test(reason))?.[1] ?? shortenIds(reason)
  })
  return [...new Set(reasons)].join('; ')
}
