/** Sizes in bytes, as people read and write them. */
import { InvalidArgumentError } from '@quire/protocol'

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** "1.5 MiB": one decimal, except for bytes. */
export function formatBytes(bytes: number): string {
  const power = bytes < 1024 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10))
  return `${(bytes / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${UNITS[power]}`
}

const SIZE = new RegExp(`^(\\d+(?:\\.\\d+)?)(${UNITS.join('|')})?$`)

/** Parses a size into bytes: "65536", "512KiB" or "1.5GiB". */
export function parseSize(argument: string): (text: string) => number {
  return (text) => {
    const [, number, unit = 'B'] = SIZE.exec(text) ?? []
    const power = UNITS.findIndex((each) => each === unit)
    const bytes = Math.round(Number(number) * 1024 ** power)
    if (Number.isSafeInteger(bytes)) return bytes
    throw new InvalidArgumentError(argument, text, 'a size such as 65536, 512KiB, 64MiB or 1.5GiB')
  }
}
