/** Limits that both sides of a wire share. A change of a limit needs a new protocol version. */

/** The version of all handshakes and messages. A peer refuses every other version. */
export const PROTOCOL_VERSION = 1

/**
 * The feature levels that this program supports. A cluster works at a level that all members support, and raises it
 * through the log. Nodes whose ranges do not overlap refuse each other.
 */
export const FEATURES = { lowest: 1, highest: 1 } as const

export const PROTOCOL_CONTROL = '/quire/control/1'
export const PROTOCOL_BULK = '/quire/bulk/1'
export const PROTOCOL_RAFT = '/quire/raft/1'

export const MIN_PAGE_BYTES = 4096
export const MAX_PAGE_BYTES = 65_536
export const DEFAULT_PAGE_BYTES = 4096

/** Page bytes that a client sends in one bulk frame: they become one log entry. */
export const MAX_BULK_PAYLOAD_BYTES = 256 * 1024
/** Page bytes in one grant. A larger grant would delay the pages that the program waits for. */
export const MAX_GRANT_BYTES = 64 * 1024
/** A bulk frame: its payload, and the fields around up to 64 pages. */
export const MAX_BULK_FRAME_BYTES = MAX_BULK_PAYLOAD_BYTES + 4096
export const MAX_CONTROL_FRAME_BYTES = 65_536
/** Entry bytes in one Raft append message. A single entry may be larger, up to the size of a frame. */
export const MAX_APPEND_BYTES = 256 * 1024
export const MAX_RAFT_FRAME_BYTES = 1024 * 1024

/** Bytes in one request for a checksum. The leader does nothing else while it computes one. */
export const MAX_CHECKSUM_BYTES = 1024 * 1024

export const MAX_PATH_BYTES = 1024
/** A PeerId as text. */
export const MAX_PEER_ID_BYTES = 128
export const MAX_ADDRESS_BYTES = 512
export const MAX_ADDRESSES = 16
export const MAX_MEMBERS = 64
/** With 2^52 bytes at most, offsets and sums of sizes stay safe integers. */
export const MAX_FILE_BYTES = 2 ** 52

/** The reason of a refused peer in a status message. */
export const MAX_REASON_BYTES = 320
/** Snapshots that one peer sends at once, in a status message. */
export const MAX_SENT_SNAPSHOTS = 16
/** One argument of an error on the wire. The sender clips longer text. */
export const MAX_FACT_BYTES = 2048
/**
 * The addresses of all members in one message to a client. A status with that many still fits a control frame, even
 * with {@link MAX_MEMBERS} members that are all refused for the longest reason.
 */
export const MAX_TOTAL_ADDRESS_BYTES = 24 * 1024

/** A founding digest, an incarnation or a process id: lower-case hex. */
export const MAX_DIGEST_BYTES = 64
/** An encoded configuration of a cluster. Two of them fit one Raft frame, with the fields around them. */
export const MAX_CONFIGURATION_BYTES = 510 * 1024
