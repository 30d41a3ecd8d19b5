import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readVersion, STAMP_FILE, versionLine } from '../src/version.js'
import { testFolder } from './support/quire.js'

const COMMIT = '1234567890abcdef1234567890abcdef12345678'
const node = process.versions.node

/** A package folder of this command, without its code. */
function packageAt(...names: string[]): string {
  const folder = join(testFolder(), ...names)
  mkdirSync(join(folder, 'dist'), { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{"version":"1.2.3"}')
  return folder
}

function git(folder: string, ...args: string[]): string {
  const identity = ['-c', 'user.name=Somebody', '-c', 'user.email=somebody@example.org']
  return execFileSync('git', [...identity, ...args], { cwd: folder, encoding: 'utf8' }).trim()
}

/** Makes `folder` a repository with one commit of all that is in it. */
function commitAll(folder: string): string {
  git(folder, 'init', '--quiet')
  git(folder, 'add', '--all')
  git(folder, 'commit', '--quiet', '--message', 'all')
  return git(folder, 'rev-parse', 'HEAD')
}

describe('the version', () => {
  it('the version has the commit that git names in a checkout, and says when files differ from it', () => {
    const folder = packageAt('packages', 'cli')
    const commit = commitAll(join(folder, '../..'))
    expect(readVersion(folder)).toEqual({ version: '1.2.3', commit, modified: false, node })
    writeFileSync(join(folder, 'package.json'), '{"version":"1.2.4"}')
    expect(readVersion(folder)).toEqual({ version: '1.2.4', commit, modified: true, node })
  })

  it('the version takes the commit of a checkout from git even if an earlier pack has left a stamp', () => {
    const folder = packageAt('packages', 'cli')
    writeFileSync(join(folder, STAMP_FILE), JSON.stringify({ commit: COMMIT, modified: false }))
    const commit = commitAll(join(folder, '../..'))
    expect(readVersion(folder).commit).toBe(commit)
  })

  it('the version has the commit of its stamp in an installed package', () => {
    const folder = packageAt('node_modules', '@quire', 'cli')
    writeFileSync(join(folder, STAMP_FILE), JSON.stringify({ commit: COMMIT, modified: false }))
    expect(readVersion(folder)).toEqual({ version: '1.2.3', commit: COMMIT, modified: false, node })
  })

  it("the version has no commit without a stamp, and never that of the user's own repository", () => {
    const folder = packageAt('node_modules', '@quire', 'cli')
    commitAll(join(folder, '../../..'))
    expect(readVersion(folder)).toEqual({ version: '1.2.3', commit: null, modified: false, node })
  })

  it('the version is one line with version, commit and Node version', () => {
    const version = { version: '1.2.3', commit: COMMIT, modified: false, node: '24.1.0' }
    expect(versionLine(version)).toBe('1.2.3, commit 1234567890ab, Node 24.1.0')
    expect(versionLine({ ...version, modified: true })).toBe('1.2.3, commit 1234567890ab (modified), Node 24.1.0')
    expect(versionLine({ ...version, commit: null })).toBe('1.2.3, commit unknown, Node 24.1.0')
  })
})
