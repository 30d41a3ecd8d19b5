#!/usr/bin/env node
// This file is committed, so that an install before the first build can link it.
import { descriptorLimit } from '@quire/store/internal/descriptor-limit'

// Node opens the modules of a program at the same time, about 170 here. If it cannot open one, its message names
// neither cause nor remedy.
const LEAST = 256
const limit = descriptorLimit()
if (limit < LEAST) {
  process.stderr.write(
    `quire: the limit of open files is ${limit}, quire needs ${LEAST} at least: raise it (ulimit -n)\n`
  )
  process.exitCode = 1
} else {
  await import('../dist/main.js')
}
