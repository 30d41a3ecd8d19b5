/** Shortens PeerIds in log lines, so that people can read them. */
import { pino, type Logger, type SerializerFn } from 'pino'
import { shortenIds } from '../portable/short-id.js'

/** Fields that may contain PeerIds. `id` is not among them: a line that introduces a node shows its whole PeerId. */
const FIELDS = ['peer', 'client', 'leader', 'reason', 'address', 'addresses', 'by', 'change'] as const
const MAX_DEPTH = 4

/** Returns a child of `logger` that shortens PeerIds, also in errors. The error serializer of `logger` runs first. */
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
