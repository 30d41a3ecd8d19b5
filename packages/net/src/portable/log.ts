/** The part of a pino logger that this folder uses. */
export interface Log {
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}
