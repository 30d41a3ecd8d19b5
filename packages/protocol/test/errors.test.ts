import { inspect } from 'node:util'
import { fromString } from 'uint8arrays/from-string'
import { describe, expect, it } from 'vitest'
import {
  BusyError,
  CacheFullError,
  ClosedError,
  CorruptionError,
  FileExistsError,
  InvalidArgumentError,
  NoDescriptorsError,
  NoSpaceError,
  NoSuchFileError,
  NotAuthorizedError,
  PastEndError,
  PinConflictError,
  QuotaExceededError,
  ReadOnlyMappingError,
  SessionExpiredError,
  UnavailableError,
  VersionMismatchError,
  clipText,
  decode,
  encode,
  errorFromWire,
  errorToWire,
  wireError
} from '../src/index.js'

const errors = [
  new NoSuchFileError('/a'),
  new FileExistsError('/a'),
  new InvalidArgumentError('pageSize', 5000, 'a power of two'),
  new InvalidArgumentError('path', 'a', 'absolute'),
  new PastEndError('/a', 8192, 4096),
  new ReadOnlyMappingError('/a'),
  new SessionExpiredError('17'),
  new UnavailableError('no majority'),
  new BusyError('/a', 4096),
  new PinConflictError('/a', 0, 8192),
  new CacheFullError(65536, 4096),
  new NoSpaceError('/data'),
  new NoDescriptorsError('/data', 'EMFILE'),
  new QuotaExceededError('sessions', 10),
  new CorruptionError('00000001.log', 512, 'checksum'),
  new CorruptionError('pages.lmdb', undefined, 'page 7'),
  new VersionMismatchError('protocol', 2, 1),
  new NotAuthorizedError('12D3Koo', 'not listed'),
  new ClosedError('the client')
]

describe('an error', () => {
  it('an error shows each fact once, under its name, when Node prints it', () => {
    const shown = inspect(new PastEndError('/a', 8, 4))
    expect(shown).toContain('offset: 8')
    expect(shown).not.toContain('facts')
  })
})

describe('an error on the wire', () => {
  it.each(errors.map((error) => [error.name, error] as const))(
    'an error on the wire arrives as the same class with the same facts: %s',
    (_, error) => {
      const back = errorFromWire(decode(wireError, encode(wireError, errorToWire(error))))
      expect(back).toBeInstanceOf(error.constructor)
      expect(back.message).toBe(error.message)
      expect(Object.entries(back)).toEqual(Object.entries(error))
    }
  )

  it('an error on the wire is clipped to the limit of a message, however long its path is', () => {
    const where = '/data/é'.repeat(600)
    const back = errorFromWire(decode(wireError, encode(wireError, errorToWire(new NoSpaceError(where)))))
    expect(back).toBeInstanceOf(NoSpaceError)
    const { where: shown } = back as NoSpaceError
    expect(fromString(shown).length).toBeLessThanOrEqual(2048)
    expect(where.startsWith(shown.slice(0, -1))).toBe(true)
    expect(shown.endsWith('…')).toBe(true)
  })

  it('an error on the wire stays well-formed Unicode, wherever its text is cut', () => {
    for (let maxBytes = 3; maxBytes < 24; maxBytes++) {
      const cut = clipText('aé€😀aé€😀 and more', maxBytes)
      expect(fromString(cut).length).toBeLessThanOrEqual(maxBytes)
      expect(cut).toMatch(/^[aé€😀 nd]*…$/u)
    }
    expect(clipText('short', 5)).toBe('short')
    expect(clipText('\ud800', 5)).toBe('\ufffd')
  })

  it('an error on the wire becomes a RemoteError with its code if the code is unknown', () => {
    expect(errorFromWire({ code: 'ERR_FROM_THE_FUTURE', facts: [] })).toMatchObject({
      name: 'RemoteError',
      code: 'ERR_FROM_THE_FUTURE'
    })
  })
})
