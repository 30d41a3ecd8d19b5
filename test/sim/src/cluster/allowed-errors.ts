/** The errors that calls may end with, depending on the faults around them. Any other error is a defect. */

/** Files shrink, end and are closed, callers abort, and caches are small. */
export const ALLOWED_WITHOUT_FAULTS: ReadonlySet<string> = new Set([
  'ClosedError',
  'CacheFullError',
  'PastEndError',
  'PinConflictError',
  'NoSuchFileError',
  'AbortError'
])

/** Sessions may or may not outlive their connections. */
export const ALLOWED_BY_BREAKS: ReadonlySet<string> = new Set([...ALLOWED_WITHOUT_FAULTS, 'SessionExpiredError'])

/** Other nodes crash, networks break, and a wait may exceed its time. */
export const ALLOWED_BY_FAULTS: ReadonlySet<string> = new Set([...ALLOWED_BY_BREAKS, 'UnavailableError', 'BusyError'])

/** A client may be denied. */
export const ALLOWED_BY_DENIALS: ReadonlySet<string> = new Set([...ALLOWED_BY_FAULTS, 'NotAuthorizedError'])
