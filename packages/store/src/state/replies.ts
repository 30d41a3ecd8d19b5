/** One row for each answer but a refusal, which says what the leader sends to the client. */
import type { LeaderMessageOf, LoggedRequestType, ReplyTo } from '@quire/protocol'
import type { Answer, AnswerOf } from './answer.js'
import type { Applied, StateView } from './view.js'

export type ReplyAnswerType = Exclude<Answer['type'], 'failed'>
type Answers = { readonly [A in ReplyAnswerType]: AnswerOf<A> }
type Files = Pick<StateView, 'file'>
type Replies = {
  readonly [A in ReplyAnswerType]: (answer: Answers[A], view: Files) => ReplyTo<LoggedRequestType>
}

const REPLIES = {
  // The current file: the remembered answer to a repeated request may be old.
  opened: ({ seq, stat }, view) => ({ type: 'opened', seq, stat: view.file(stat.id) ?? stat }),
  closed: done,
  extended: done,
  truncated: done,
  punched: done,
  renamed: done,
  unlinked: done,
  linked: done
} satisfies Replies

/** The answers that the leader sends as the reply which the row of request `T` in `REQUESTS` names. */
export type AnswerTypeFor<T extends LoggedRequestType> = {
  [A in ReplyAnswerType]: ReturnType<(typeof REPLIES)[A]> extends ReplyTo<T> ? A : never
}[ReplyAnswerType]

/** Returns whether the outcome is the answer to a request. */
export function isAnswer(outcome: Applied): outcome is Answer {
  return outcome.type === 'failed' || Object.hasOwn(REPLIES, outcome.type)
}

/** Returns the message that carries the answer to the client. */
export function replyOf<A extends ReplyAnswerType>(
  answer: Answers[A] & { readonly type: A },
  view: Files
): ReplyTo<LoggedRequestType> {
  const replies: Replies = REPLIES
  const type: A = answer.type
  return replies[type](answer, view)
}

function done({ seq }: { readonly seq: number }): LeaderMessageOf<'done'> {
  return { type: 'done', seq }
}
