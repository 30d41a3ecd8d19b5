#!/usr/bin/env node
// This file is committed, so that an install before the first build can link it.
import { descriptorLimit } from '@quire/store/internal/descriptor-limit'
import { LEAST_OPEN_FILES } from '../dist/open-files.js'

const limit = descriptorLimit()

// If Node cannot open a module, its message names neither cause nor remedy.
function refuse() {
  process.stderr.write(
    `quire: the limit of open files is ${limit}, quire needs ${LEAST_OPEN_FILES} at least: raise it (ulimit -n)\n`
  )
  process.exitCode = 1
}

if (limit >= LEAST_OPEN_FILES) await import('../dist/main.js')
// The doctor shows a low limit as one of its findings, if its modules load at all.
else if (process.argv[2] === 'doctor') await import('../dist/main.js').catch(refuse)
else refuse()
