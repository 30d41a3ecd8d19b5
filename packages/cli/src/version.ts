/** Which build this is: the version of the package, the commit that it was built from, and Node's version. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export interface Commit {
  /** The full hash; null when neither git nor the package names a commit. */
  readonly commit: string | null
  /** Files that git tracks differ from the commit. */
  readonly modified: boolean
}

export interface Version extends Commit {
  readonly version: string
  readonly node: string
}

export const PACKAGE_FOLDER = fileURLToPath(new URL('..', import.meta.url))
/** Stands in a packed package only: `pnpm pack` writes it. */
export const STAMP_FILE = 'dist/commit.json'
const UNKNOWN: Commit = { commit: null, modified: false }

export function readVersion(folder = PACKAGE_FOLDER): Version {
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string }
  return { version, ...readCommit(folder), node: process.versions.node }
}

export function versionLine({ version, commit, modified, node }: Version): string {
  const name = commit === null ? 'commit unknown' : `commit ${commit.slice(0, 12)}${modified ? ' (modified)' : ''}`
  return `${version}, ${name}, Node ${node}`
}

/** In a checkout from git, because a stamp that an earlier `pnpm pack` left there is out of date. */
function readCommit(folder: string): Commit {
  return commitOfCheckout(folder) ?? readStamp(folder) ?? UNKNOWN
}

/** Undefined outside a checkout: an installed package may be inside its user's repository, which has other commits. */
export function commitOfCheckout(folder: string): Commit | undefined {
  const packages = dirname(folder.replace(/[/\\]$/, ''))
  if (basename(packages) !== 'packages' || !existsSync(join(packages, '../.git'))) return undefined
  const described = spawnSync('git', ['describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'], {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore']
  })
  const match = /^([0-9a-f]{40,64})(-dirty)?$/.exec(String(described.stdout).trim())
  return match === null ? undefined : { commit: match[1]!, modified: match[2] !== undefined }
}

function readStamp(folder: string): Commit | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, STAMP_FILE), 'utf8')) as Commit
  } catch {
    return undefined
  }
}
