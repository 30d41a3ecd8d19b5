/** The methods of a pino logger that this folder calls. A browser may pass another logger. */
export interface Log {
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}
