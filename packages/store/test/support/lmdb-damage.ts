/** Ways to damage pages.lmdb, and the line in which a peer refuses the file. */
import { open, truncate, writeFile } from 'node:fs/promises'
import { expect } from 'vitest'

const PAGE = 4096

export async function overwrite(file: string, offset: number, bytes: Uint8Array): Promise<void> {
  const handle = await open(file, 'r+')
  await handle.write(bytes, 0, bytes.length, offset)
  await handle.close()
}

export const zeros = (length: number): Uint8Array => new Uint8Array(length)
export const ones = (length: number): Uint8Array => new Uint8Array(length).fill(0xff)

/** Each kind of damage, and the reason that the refusal gives. */
export const DAMAGES: Readonly<Record<string, readonly [(file: string, size: number) => Promise<void>, RegExp]>> = {
  'cut to 5,000 bytes': [(file) => truncate(file, 5000), /meta page 1|cut off/],
  'cut to 100 bytes': [(file) => truncate(file, 100), /ends in meta page 0/],
  'cut to half': [(file, size) => truncate(file, Math.floor(size / 2)), /cut off: it has \d+ of \d+ bytes/],
  'one page shorter': [(file, size) => truncate(file, size - PAGE), /cut off/],
  'with an early page overwritten': [
    (file) => overwrite(file, 2 * PAGE, ones(8 * PAGE)),
    /page \d+ has the wrong number or type/
  ],
  'with an early page of zeros': [
    (file) => overwrite(file, 2 * PAGE, zeros(8 * PAGE)),
    /page \d+ has the wrong number or type/
  ],
  'with a first meta page of zeros': [(file) => overwrite(file, 0, zeros(PAGE)), /does not begin like an LMDB file/],
  'with a second meta page of zeros': [(file) => overwrite(file, PAGE, zeros(PAGE)), /meta page 1 is damaged/],
  'with both meta pages broken': [(file) => overwrite(file, 24, ones(2 * PAGE)), /does not begin like an LMDB file/],
  'with another file in its place': [
    (file) => writeFile(file, new Uint8Array(50_000).fill(7)),
    /does not begin like an LMDB file/
  ]
}

/** Expects one line that names the file, the reason and the remedy. */
export function expectRefusal(message: string, file: string, reason: RegExp): void {
  expect(message).toContain(file)
  expect(message).toMatch(reason)
  expect(message).toMatch(/move this file away and start the peer again/)
  expect(message).not.toContain('\n')
}
