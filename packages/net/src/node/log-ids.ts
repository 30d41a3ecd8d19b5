/** Log lines that people can read: PeerIds are shortened in all of them, wherever they stand. */
import { pino, type Logger, type SerializerFn } from 'pino'
import { shortenIds } from '../portable/short-id.js'

/** Fields that hold a PeerId, or text with one in it. Not `id`: a line that introduces a node shows its whole id. */
const FIELDS = ['peer', 'client', 'leader', 'reason', 'address', 'addresses'] as const
const MAX_DEPTH = 4

/** A child of `logger` that shortens PeerIds, in errors too. Its own serializer of errors still runs, before. */
export function withShortIds(logger: Logger): Logger {
  const own = (logger as { [pino.symbols.serializersSym]?: Record<string, SerializerFn> })[pino.symbols.serializersSym]
  const serializeError = own?.err ?? pino.stdSerializers.err
  const serializers: Record<string, SerializerFn> = { err: (error: Error) => shorten(serializeError(error)) }
  for (const field of FIELDS) serializers[field] = (value: unknown) => shorten(value)
  return logger.child({}, { serializers })
}

function shorten(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return shortenIds(value)
  if (typeof value !== 'object' || value === null || depth === MAX_DEPTH) return value
  if (Array.isArray(value)) return value.map((item) => shorten(item, depth + 1))
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, shorten(item, depth + 1)]))
}
