/**
 * Opens LMDB's file and reads rows for some time: `probe-pages.js FILE MILLISECONDS TABLE...`. If LMDB reports an
 * error, prints its message and ends with status 1.
 *
 * LMDB maps the file, so damage that it does not notice ends the process. A peer therefore runs this program first.
 */
import { open } from 'lmdb'

const [path, budgetMs, ...tables] = process.argv.slice(2)
try {
  const root = open({ path, noSubdir: true, readOnly: true, encoding: 'binary', keyEncoding: 'binary' })
  const end = performance.now() + Number(budgetMs)
  for (const name of tables) {
    const table = root.openDB(name, { encoding: 'binary', keyEncoding: 'binary' })
    // A file without a commit has no tables.
    if (table === undefined) continue
    for (const { value } of table.getRange()) {
      if (value === undefined || performance.now() > end) break
    }
  }
} catch (error) {
  process.stdout.write(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
}
