/** The answer to a request, as the state machine remembers it until the client has received it. */
import {
  errorFromWire,
  errorToWire,
  fileStat,
  struct,
  uint,
  union,
  wireError,
  type Codec,
  type QuireError,
  type TypeOf
} from '@quire/protocol'

const quireError: Codec<QuireError> = {
  minBytes: wireError.minBytes,
  write: (writer, value) => wireError.write(writer, errorToWire(value)),
  read: (reader) => errorFromWire(wireError.read(reader))
}

const request = { session: uint, seq: uint }

export const answer = union({
  opened: [1, struct({ ...request, stat: fileStat })],
  closed: [2, struct({ ...request, file: uint })],
  extended: [3, struct({ ...request, file: uint, size: uint })],
  /** The state machine refused the request. */
  failed: [4, struct({ ...request, error: quireError })],
  truncated: [5, struct({ ...request, file: uint, size: uint })],
  /** The pages from `first` up to but excluding `end`, which is not beyond the file's last page. */
  punched: [6, struct({ ...request, file: uint, first: uint, end: uint })],
  renamed: [7, struct({ ...request, file: uint })],
  unlinked: [8, struct({ ...request, file: uint })],
  linked: [9, struct({ ...request, file: uint })]
})
export type Answer = TypeOf<typeof answer>
export type AnswerOf<T extends Answer['type']> = Extract<Answer, { type: T }>
