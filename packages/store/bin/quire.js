#!/usr/bin/env node
// A committed file, so that an install before the first build can link it.
import '../dist/cli/main.js'
