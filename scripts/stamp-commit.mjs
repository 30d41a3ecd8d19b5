#!/usr/bin/env node
// Runs before @quire/cli is packed: writes the commit of the checkout into the package, for `quire --version`.
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PACKAGE_FOLDER, STAMP_FILE, commitOfCheckout } from '../packages/cli/dist/version.js'

const stamp = join(PACKAGE_FOLDER, STAMP_FILE)
const commit = commitOfCheckout(PACKAGE_FOLDER)
if (commit === undefined) {
  rmSync(stamp, { force: true })
  console.error('stamp-commit: git names no commit here, so `quire --version` of this package will not name one either')
} else {
  writeFileSync(stamp, `${JSON.stringify(commit)}\n`)
}
