// Removes the output of builds and runs from the tree. Installed dependencies stay.
import { readdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const outputs = new Set(['dist', 'coverage', 'bench-output'])

function clean(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (!entry.isDirectory() || entry.name === 'node_modules' || entry.name === '.git') continue
    const path = join(folder, entry.name)
    if (outputs.has(entry.name)) rmSync(path, { recursive: true, force: true })
    else clean(path)
  }
}

clean(dirname(dirname(fileURLToPath(import.meta.url))))
