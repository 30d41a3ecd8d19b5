#!/usr/bin/env node
// Runs before @quire/cli is packed: writes the commit of the checkout into the package, for `quire --version`.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PACKAGE_FOLDER, STAMP_FILE, commitOfCheckout } from '../packages/cli/dist/version.js'

const commit = commitOfCheckout(PACKAGE_FOLDER)
if (commit === undefined) {
  console.error('stamp-commit: git names no commit here, so `quire --version` of this package will not either')
  process.exit(1)
}
writeFileSync(join(PACKAGE_FOLDER, STAMP_FILE), `${JSON.stringify(commit)}\n`)
