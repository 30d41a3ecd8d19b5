/**
 * Opens LMDB's file in a process of its own and reads some of it: `probe-pages.js FILE MILLISECONDS TABLE...`. LMDB
 * maps the file, so damage that it does not notice ends the process that reads it. Better this one than a peer.
 * Prints what LMDB says of the file, if anything, and ends with 1 then.
 */
import { open } from 'lmdb'

const [path, budgetMs, ...tables] = process.argv.slice(2)
try {
  const root = open({ path, noSubdir: true, readOnly: true, encoding: 'binary', keyEncoding: 'binary' })
  const end = performance.now() + Number(budgetMs)
  for (const name of tables) {
    const table = root.openDB(name, { encoding: 'binary', keyEncoding: 'binary' })
    // A store that was never written has no tables.
    if (table === undefined) continue
    for (const { value } of table.getRange()) {
      if (value === undefined || performance.now() > end) break
    }
  }
} catch (error) {
  process.stdout.write(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
}
