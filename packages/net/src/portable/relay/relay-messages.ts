/**
 * The messages of libp2p's circuit relay v2 (https://github.com/libp2p/specs/blob/master/relay/circuit-v2.md). The hop
 * protocol is spoken between a client and its relay, the stop protocol between the relay and the remote. Messages are
 * Protocol Buffers; a relay without reservations and limits uses three of their fields.
 */
import '../polyfill.js'
import { peerIdFromString } from '@libp2p/peer-id'
import { toString } from 'uint8arrays/to-string'
import { parsePeerId } from '../multiaddr.js'

export const HOP_PROTOCOL = '/libp2p/circuit/relay/0.2.0/hop'
export const STOP_PROTOCOL = '/libp2p/circuit/relay/0.2.0/stop'

/** A message of the usual kind has less than a hundred bytes. One that carries addresses may be larger. */
export const MAX_RELAY_MESSAGE_BYTES = 4096

export const STATUS = {
  OK: 100,
  RESERVATION_REFUSED: 200,
  RESOURCE_LIMIT_EXCEEDED: 201,
  PERMISSION_DENIED: 202,
  CONNECTION_FAILED: 203,
  NO_RESERVATION: 204,
  MALFORMED_MESSAGE: 400,
  UNEXPECTED_MESSAGE: 401
} as const

export type Status = (typeof STATUS)[keyof typeof STATUS]

/** What a status says about a relayed connection. */
const MEANINGS: Readonly<Record<number, string>> = {
  [STATUS.RESERVATION_REFUSED]: 'it takes no reservations',
  [STATUS.RESOURCE_LIMIT_EXCEEDED]: 'it relays as many connections as it may',
  [STATUS.PERMISSION_DENIED]: 'it may not relay this connection',
  [STATUS.CONNECTION_FAILED]: 'the peer has not accepted the connection',
  [STATUS.NO_RESERVATION]: 'it has no connection to the peer'
}

export function meaningOf(status: number | undefined): string {
  return MEANINGS[status ?? 0] ?? `status ${status}`
}

export type RelayMessage =
  | { readonly type: 'reserve' }
  /** In the hop protocol, `peer` is the PeerId to connect to; in the stop protocol, the one that connects. */
  | { readonly type: 'connect'; readonly peer: string }
  | { readonly type: 'status'; readonly status: number }

/** What differs between the two protocols: the numbers of the types, and the field that holds the status. */
interface Dialect {
  readonly types: readonly RelayMessage['type'][]
  readonly statusField: number
}

const HOP: Dialect = { types: ['reserve', 'connect', 'status'], statusField: 5 }
const STOP: Dialect = { types: ['connect', 'status'], statusField: 4 }

export const hopMessage = codecOf(HOP)
export const stopMessage = codecOf(STOP)

export interface RelayMessageCodec {
  encode(message: RelayMessage): Uint8Array
  /** Throws for bytes that are no message of the protocol. Skips fields that it does not know. */
  decode(bytes: Uint8Array): RelayMessage
}

const TYPE_FIELD = 1
const PEER_FIELD = 2
const PEER_ID_FIELD = 1

function codecOf({ types, statusField }: Dialect): RelayMessageCodec {
  return {
    encode(message) {
      const type = varintField(TYPE_FIELD, types.indexOf(message.type))
      if (message.type === 'status') return Uint8Array.from([...type, ...varintField(statusField, message.status)])
      if (message.type === 'reserve') return Uint8Array.from(type)
      const id = bytesField(PEER_ID_FIELD, peerIdFromString(message.peer).toMultihash().bytes)
      return Uint8Array.from([...type, ...bytesField(PEER_FIELD, id)])
    },
    decode(bytes) {
      const fields = fieldsOf(bytes)
      const number = fields.get(TYPE_FIELD)
      const type = typeof number === 'number' ? types[number] : undefined
      if (type === undefined) throw new Error(`a relay message of type ${String(number)}`)
      if (type === 'reserve') return { type }
      if (type === 'connect') return { type, peer: peerIn(fields.get(PEER_FIELD)) }
      const status = fields.get(statusField)
      return { type, status: typeof status === 'number' ? status : 0 }
    }
  }
}

function peerIn(peer: number | Uint8Array | undefined): string {
  const id = peer instanceof Uint8Array ? fieldsOf(peer).get(PEER_ID_FIELD) : undefined
  if (!(id instanceof Uint8Array)) throw new Error('a relay message without a peer')
  return parsePeerId(toString(id, 'base58btc'), 'peer')
}

// ---- Protocol Buffers, as far as these messages need them: https://protobuf.dev/programming-guides/encoding

const VARINT = 0
const FIXED64 = 1
const LENGTH_DELIMITED = 2
const FIXED32 = 5

function varintField(field: number, value: number): number[] {
  return [...varint(field * 8 + VARINT), ...varint(value)]
}

function bytesField(field: number, value: ArrayLike<number>): number[] {
  return [...varint(field * 8 + LENGTH_DELIMITED), ...varint(value.length), ...Array.from(value)]
}

function varint(value: number): number[] {
  const bytes: number[] = []
  let rest = value
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128)
  return [...bytes, rest]
}

/** The fields of a message by number. Of a repeated field, the last value counts. */
function fieldsOf(bytes: Uint8Array): Map<number, number | Uint8Array> {
  const fields = new Map<number, number | Uint8Array>()
  let at = 0
  const take = (length: number): Uint8Array => {
    if (length > bytes.length - at) throw new Error('a relay message that ends inside a field')
    at += length
    return bytes.subarray(at - length, at)
  }
  const takeVarint = (): number => {
    let value = 0
    for (let factor = 1; ; factor *= 128) {
      const [byte = 0] = take(1)
      value += (byte % 128) * factor
      if (byte < 128) return value
      // A larger number would lose digits. None of the fields that count has one.
      if (factor > 2 ** 56) throw new Error('a number with too many bytes in a relay message')
    }
  }
  while (at < bytes.length) {
    const tag = takeVarint()
    const field = Math.floor(tag / 8)
    const kind = tag % 8
    if (kind === VARINT) fields.set(field, takeVarint())
    else if (kind === LENGTH_DELIMITED) fields.set(field, take(takeVarint()))
    else if (kind === FIXED64) take(8)
    else if (kind === FIXED32) take(4)
    else throw new Error(`a field of kind ${kind} in a relay message`)
  }
  return fields
}
