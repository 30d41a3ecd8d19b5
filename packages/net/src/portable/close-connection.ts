import type { Connection } from '@libp2p/interface'
import { MAX_ROUND_TRIP_MS } from '@quire/protocol'
import { toError } from './failures.js'

/** How long an orderly close may take: one round trip. */
export const CLOSE_TIMEOUT_MS = MAX_ROUND_TRIP_MS

/** Closes a connection in order. Cuts it if that takes longer than {@link CLOSE_TIMEOUT_MS}. */
export async function closeConnection(connection: Connection): Promise<void> {
  try {
    await connection.close({ signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS) })
  } catch (error) {
    connection.abort(toError(error))
  }
}
