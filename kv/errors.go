package kv

import "errors"

// What callers decide by. Every method's comment names those that it returns; whatever else comes
// back is a failure of the store itself (no server, no time left) and is told to nobody outside.
var (
	// ErrAccountExists: the account, after folding, belongs to somebody already.
	ErrAccountExists = errors.New("account exists already")
	// ErrAccountEmpty: nothing is left of the account after folding.
	ErrAccountEmpty = errors.New("account is empty")
	// ErrUserNotFound: there is no user with this id or account, or it was deleted.
	ErrUserNotFound = errors.New("user not found")
	// ErrTokenInvalid: the token is not one of this user's, was revoked, or has expired.
	ErrTokenInvalid = errors.New("token is not valid")
	// ErrNoReset: there is no code for a new password, it was used, tried too often or has expired.
	ErrNoReset = errors.New("no code for a new password")
	// ErrSelf: a user can't be its own friend.
	ErrSelf = errors.New("a user can't befriend itself")
	// ErrAlreadyFriends: the two are friends, and there is nothing left to name.
	ErrAlreadyFriends = errors.New("already friends")
	// ErrNotFriends: the two are not friends.
	ErrNotFriends = errors.New("not friends")
	// ErrNoRequest: the other has not asked, so there is nothing to answer.
	ErrNoRequest = errors.New("no pending friend request")
	// ErrTooManyFriends: one of the two rosters is full.
	ErrTooManyFriends = errors.New("too many friends")
	// ErrTooManyRequests: too many requests are pending, to the one asked or from the one asking.
	ErrTooManyRequests = errors.New("too many pending friend requests")
	// ErrConflict: others changed the same records again and again while this change was tried.
	// Nothing was written; trying later may succeed.
	ErrConflict = errors.New("too many conflicting changes")
	// ErrReadOnly: Options.MayWrite refused a write, and nothing was written. The text has the reason.
	ErrReadOnly = errors.New("changes are refused")
	// ErrPasswordTooLong: the password is longer than the hasher accepts.
	ErrPasswordTooLong = errors.New("password is too long")
	// ErrBusy: no place for hashing a password came free in time.
	ErrBusy = errors.New("too many passwords are being checked")
	// ErrAttachmentExists: there is an attachment with this name already.
	ErrAttachmentExists = errors.New("attachment exists already")
	// ErrAttachmentNotFound: there is no attachment with this name, or not with this secret.
	ErrAttachmentNotFound = errors.New("attachment not found")
	// ErrAttachmentInvalid: an attachment can't be as it was asked for; the text says what is wrong.
	ErrAttachmentInvalid = errors.New("attachment is not valid")
	// ErrServerTooOld: the NATS server lacks atomic batches, which came with 2.12.
	ErrServerTooOld = errors.New("nats-server is too old")
	// ErrNoJetStream: the NATS server, or this account on it, has no JetStream.
	ErrNoJetStream = errors.New("JetStream is not enabled")
	// ErrStreamMismatch: a stream with a bucket's name exists and can't be made into that bucket.
	ErrStreamMismatch = errors.New("stream does not fit")
	// ErrNoState: there is no state. No server of this prefix has opened the buckets yet, or only servers of a version
	// without a state have.
	ErrNoState = errors.New("no state is kept")
	// ErrRestoreUnfinished: a restore was interrupted after the point of no return. It must be completed before the
	// buckets may be used.
	ErrRestoreUnfinished = errors.New("a restore was interrupted")
)
