/**
 * Maps a local file without a cluster. `node examples/local-file/dist/main.js FILE` counts its runs in the first eight
 * bytes of the file. Quire provides the page tables, mappings, private copies and calls of the address space. This
 * program provides the pages, in three functions, as a filesystem does in the kernel.
 */
import { open, type FileHandle } from 'node:fs/promises'
import { argv } from 'node:process'
import { createAddressSpace, type DirtyPage, type PageFault, type VmOperations } from '@quire/dsm-client'

const PAGE = 4096

class FileOperations implements VmOperations {
  constructor(
    private readonly file: FileHandle,
    private readonly size: number
  ) {}

  /** kernel: do_no_page. Frames are zeroed, so bytes beyond the end of the file read as zeros. */
  async noPage({ index, frames }: PageFault): Promise<void> {
    for (const [i, frame] of frames.entries()) {
      for (let at = 0; at < frame.length;) {
        const { bytesRead } = await this.file.read(frame, at, frame.length - at, (index + i) * PAGE + at)
        if (bytesRead === 0) break
        at += bytesRead
      }
    }
  }

  /** kernel: do_wp_page. No other client caches this file, so a page becomes writable at once. */
  async wpPage(): Promise<void> {}

  async writePages(pages: readonly DirtyPage[]): Promise<void> {
    for (const { index, bytes } of pages) {
      // The rest of the last page is not part of the file.
      const length = Math.min(bytes.length, this.size - index * PAGE)
      await this.file.write(bytes, 0, length, index * PAGE)
    }
    await this.file.datasync()
  }
}

async function main(path: string): Promise<void> {
  const file = await open(path, 'r+').catch(() => open(path, 'w+'))
  const size = Math.max(8, (await file.stat()).size)
  const space = createAddressSpace({
    size,
    pageSize: PAGE,
    cacheBytes: 1024 * 1024,
    ops: new FileOperations(file, size)
  })
  try {
    const mapping = space.mmap()
    using pinned = await mapping.pin(0, 8, 'write')
    const word = new DataView(pinned.bytes.buffer, pinned.bytes.byteOffset, 8)
    word.setBigUint64(0, word.getBigUint64(0, true) + 1n, true)
    pinned.release()

    // A private mapping shows the file until the program writes to it. Its writes never reach the file.
    const own = space.mmap({ flags: 'private' })
    await own.write(0, new Uint8Array(8))
    const runs = new DataView((await mapping.read(0, 8)).buffer).getBigUint64(0, true)
    console.log(`${path} was counted ${runs} times; the private copy says ${(await own.read(0, 1))[0]}`)
  } finally {
    await space.close()
    await file.close()
  }
}

const [, , path] = argv
if (path === undefined) {
  console.error('usage: node examples/local-file/dist/main.js FILE')
  process.exitCode = 2
} else {
  try {
    await main(path)
  } catch (error) {
    console.error(String(error))
    process.exitCode = 1
  }
}
