/** What the errors of libp2p mean, matched by name as libp2p documents them. */

export function isUnsupportedProtocol(error: unknown): boolean {
  return error instanceof Error && error.name === 'UnsupportedProtocolError'
}

/** True if the connection was closed before libp2p noticed. */
export function isConnectionClosed(error: unknown): boolean {
  return error instanceof Error && (error.name === 'ConnectionClosedError' || error.name === 'MuxerClosedError')
}

export function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The reason that a DialError shows. */
export function dialReasonOf(error: unknown): string {
  // A stream that closes during its handshake rejects with its close event.
  if (error instanceof Event) return CUT_OFF_REASON
  if (!(error instanceof Error)) return String(error)
  if (error instanceof AggregateError) return error.errors.map((each) => dialReasonOf(each)).join('; ')
  if (isUnsupportedProtocol(error)) return 'the remote does not accept this protocol; it may still be starting'
  if (CUT_OFF.has(error.name)) return `${CUT_OFF_REASON} (${error.name})`
  const other = OTHER_IDENTITY.exec(error.message)?.[1]
  return other === undefined ? error.message : `another peer is there: ${other}`
}

/** Noise's message when the remote's key is not that of the PeerId that was dialed. */
const OTHER_IDENTITY = /^Payload identity key (\S+) does not match expected remote identity key/
const CUT_OFF_REASON = 'the remote closed the connection; it may not know this node'
const CUT_OFF = new Set([
  'ConnectionClosedError',
  'StreamResetError',
  'StreamClosedError',
  'MuxerClosedError',
  'UnexpectedEOFError'
])
