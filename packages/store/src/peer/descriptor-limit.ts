/**
 * The limit of open files. Imports nothing of this project, because the command checks it before it loads anything
 * else.
 */
import { readFileSync } from 'node:fs'

/** How many file descriptors this process may have; Infinity for no limit, or one that is not known. */
export function descriptorLimit(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8')
    return asLimit(/^Max open files +(\S+)/m.exec(limits)?.[1])
  } catch {
    // Not Linux. Node's report has it on every POSIX system, at a higher price.
    const report = process.report?.getReport() as { userLimits?: { open_files?: { soft?: unknown } } } | undefined
    return asLimit(report?.userLimits?.open_files?.soft)
  }
}

/** `unlimited`, and whatever else is no number, is no limit. */
function asLimit(value: unknown): number {
  const limit = Number(value)
  return Number.isSafeInteger(limit) && limit > 0 ? limit : Infinity
}
