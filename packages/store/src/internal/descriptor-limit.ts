/**
 * The limit of open files. This file imports nothing of the project, because the command checks the limit before it
 * loads anything else.
 */
import { readFileSync } from 'node:fs'

/** The limit of open files of this process; Infinity if there is none or it is unknown. */
export function descriptorLimit(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8')
    return asLimit(/^Max open files +(\S+)/m.exec(limits)?.[1])
  } catch {
    // Not Linux. On every POSIX system the report of Node.js has the limit, but it takes longer.
    const report = process.report?.getReport() as { userLimits?: { open_files?: { soft?: unknown } } } | undefined
    return asLimit(report?.userLimits?.open_files?.soft)
  }
}

/** A value that is not a number, such as `unlimited`, means that there is no limit. */
function asLimit(value: unknown): number {
  const limit = Number(value)
  return Number.isSafeInteger(limit) && limit > 0 ? limit : Infinity
}
