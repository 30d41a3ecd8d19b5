/** Asks a peer something without opening a session. */
import {
  createLibp2pNetwork,
  generatePrivateKey,
  parsePeerAddress,
  type Libp2pNetwork,
  type PrivateKey
} from '@quire/net'
import {
  FEATURES,
  MAX_CONTROL_FRAME_BYTES,
  PROTOCOL_CONTROL,
  PROTOCOL_VERSION,
  UnavailableError,
  clientMessage,
  decodeFrame,
  encodeFrame,
  errorFromWire,
  leaderMessage,
  type ClientMessage,
  type FrameStream,
  type LeaderMessage,
  type LeaderMessageOf
} from '@quire/protocol'

export type StatusAnswer = LeaderMessageOf<'status'>

export interface Probe {
  status(address: string, timeoutMs: number): Promise<StatusAnswer>
  /** The peer leads and serves. */
  serves(address: string, timeoutMs: number): Promise<boolean>
  close(): Promise<void>
}

const GROUP = 0

export async function createProbe(privateKey?: PrivateKey): Promise<Probe> {
  const network = await createLibp2pNetwork({ privateKey: privateKey ?? (await generatePrivateKey()), listen: [] })
  return {
    async status(address, timeoutMs) {
      const answer = await ask(network, address, timeoutMs, { type: 'status', version: PROTOCOL_VERSION, seq: 1 })
      if (answer.type === 'refused') throw errorFromWire(answer.error)
      if (answer.type !== 'status') throw new UnavailableError(`${address} answered with ${answer.type}`)
      return answer
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
      return (await ask(network, address, timeoutMs, hello)).type === 'welcome'
    },
    close: () => network.close()
  }
}

/** Sends one message on a stream of its own and resolves with the first answer. */
async function ask(
  network: Libp2pNetwork,
  address: string,
  timeoutMs: number,
  message: ClientMessage
): Promise<LeaderMessage> {
  const { peerId } = parsePeerAddress(address)
  const signal = AbortSignal.timeout(timeoutMs)
  let stream: FrameStream | undefined
  try {
    const dialled = await network.dial(peerId, [address], {
      protocol: PROTOCOL_CONTROL,
      maxFrameBytes: MAX_CONTROL_FRAME_BYTES,
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
      dialled.onClose = (reason) => reject(reason ?? new UnavailableError(`${address} closed the stream`))
      signal.addEventListener('abort', () =>
        reject(new UnavailableError(`${address} did not answer within ${timeoutMs} ms`))
      )
      dialled.send(encodeFrame(clientMessage, message, GROUP))
    })
  } catch (error) {
    throw signal.aborted ? new UnavailableError(`${address} did not answer within ${timeoutMs} ms`) : error
  } finally {
    stream?.close()
  }
}
