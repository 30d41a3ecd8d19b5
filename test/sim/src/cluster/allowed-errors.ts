/** Errors that calls may end with, by what goes wrong around them. Any other is a defect. */

/** Files shrink, end and are closed, calls are given up, caches are small. */
export const ALLOWED_WITHOUT_FAULTS: ReadonlySet<string> = new Set([
  'ClosedError',
  'CacheFullError',
  'PastEndError',
  'PinConflictError',
  'NoSuchFileError',
  'AbortError'
])

/** Sessions outlive their connections, or do not. */
export const ALLOWED_BY_BREAKS: ReadonlySet<string> = new Set([...ALLOWED_WITHOUT_FAULTS, 'SessionExpiredError'])

/** Others crash, networks break, and whoever waits may wait too long. */
export const ALLOWED_BY_FAULTS: ReadonlySet<string> = new Set([...ALLOWED_BY_BREAKS, 'UnavailableError', 'BusyError'])
