/** Limits that both sides of a wire must agree on. Changing one changes the protocol version. */

/** Version of the handshakes and of everything that follows them. A peer refuses any other. */
export const PROTOCOL_VERSION = 1

/**
 * Feature levels that this program can work at. A cluster works at a level that all of its members have; the log raises
 * it. Nodes whose ranges do not overlap refuse each other.
 */
export const FEATURES = { lowest: 1, highest: 1 } as const

export const PROTOCOL_CONTROL = '/quire/control/1'
export const PROTOCOL_BULK = '/quire/bulk/1'
export const PROTOCOL_RAFT = '/quire/raft/1'

export const MIN_PAGE_BYTES = 4096
export const MAX_PAGE_BYTES = 65_536
export const DEFAULT_PAGE_BYTES = 4096

/** Page bytes in one bulk frame, one page of the largest size. */
export const MAX_BULK_PAYLOAD_BYTES = 65_536
/** A bulk frame: its payload, and what stands around up to sixteen pages. */
export const MAX_BULK_FRAME_BYTES = MAX_BULK_PAYLOAD_BYTES + 4096
export const MAX_CONTROL_FRAME_BYTES = 65_536
/** Payload of one Raft append message; a single entry may be larger, up to the frame. */
export const MAX_APPEND_BYTES = 256 * 1024
export const MAX_RAFT_FRAME_BYTES = 1024 * 1024

export const MAX_PATH_BYTES = 1024
/** A PeerId as text. */
export const MAX_PEER_ID_BYTES = 128
export const MAX_ADDRESS_BYTES = 512
export const MAX_ADDRESSES = 16
export const MAX_MEMBERS = 64
/** File sizes stay safe integers with room to spare: 2^52 bytes. */
export const MAX_FILE_BYTES = 2 ** 52

/** Why a peer is refused, as a status shows it. */
export const MAX_REASON_BYTES = 320
/** One argument of an error on the wire. Longer text is cut. */
export const MAX_FACT_BYTES = 2048
/**
 * Addresses of all members together in one message to a client. Beside these, a status has room in a control frame for
 * {@link MAX_MEMBERS} members, each of them refused for the longest reason.
 */
export const MAX_TOTAL_ADDRESS_BYTES = 24 * 1024

/** A founding digest as text, an incarnation, or a process: lower-case hex. */
export const MAX_DIGEST_BYTES = 64
/** An encoded founding configuration. */
export const MAX_FOUNDING_BYTES = 512 * 1024
