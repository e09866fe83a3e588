package kv

import (
	"errors"
	"fmt"
)

// The errors that callers decide by. The comment of each method lists those that it returns. Any other error is a
// failure of the store itself, such as a missing server or a timeout, and must not be shown to clients.
var (
	// ErrAccountExists: the account, compared folded, belongs to another user.
	ErrAccountExists = errors.New("account exists already")
	// ErrAccountLooksAlike: the account looks like that of another user. It is an ErrAccountExists.
	ErrAccountLooksAlike = fmt.Errorf("%w: it looks like another account", ErrAccountExists)
	// ErrAccountEmpty: the folded account is empty.
	ErrAccountEmpty = errors.New("account is empty")
	// ErrUserNotFound: no user has this id or account, or the user was deleted.
	ErrUserNotFound = errors.New("user not found")
	// ErrTokenInvalid: the token is not one of this user's, was revoked, or has expired.
	ErrTokenInvalid = errors.New("token is not valid")
	// ErrNoReset: the user has no code for a new password, or it was used, tried too often, or has expired.
	ErrNoReset = errors.New("no code for a new password")
	// ErrSpent: what may be used only once has been used.
	ErrSpent = errors.New("used before")
	// ErrSelf: a user cannot be its own friend.
	ErrSelf = errors.New("a user can't befriend itself")
	// ErrAlreadyFriends: the two users are friends, and the friend has an alias if the call would set one.
	ErrAlreadyFriends = errors.New("already friends")
	// ErrNotFriends: the two users are not friends.
	ErrNotFriends = errors.New("not friends")
	// ErrNoRequest: the other user has no pending request.
	ErrNoRequest = errors.New("no pending friend request")
	// ErrTooManyFriends: one of the two rosters is full.
	ErrTooManyFriends = errors.New("too many friends")
	// ErrTooManyRequests: too many requests of the user are pending.
	ErrTooManyRequests = errors.New("too many pending friend requests")
	// ErrBlocked: the caller blocks the other user.
	ErrBlocked = errors.New("the caller blocks this user")
	// ErrTooManyBlocked: the caller blocks too many users.
	ErrTooManyBlocked = errors.New("too many blocked users")
	// ErrTooManyReports: the caller has too many pending reports.
	ErrTooManyReports = errors.New("too many pending reports")
	// ErrReportNotFound: no report has this id.
	ErrReportNotFound = errors.New("report not found")
	// ErrConflict: other callers changed the same records during all attempts. Nothing was written. A retry later may
	// succeed.
	ErrConflict = errors.New("too many conflicting changes")
	// ErrReadOnly: Options.MayWrite refused a write, and nothing was written. The text has the reason.
	ErrReadOnly = errors.New("changes are refused")
	// ErrPasswordTooLong: the password is longer than HasherOptions.MaxLength.
	ErrPasswordTooLong = errors.New("password is too long")
	// ErrPasswordTooShort: the password is shorter than HasherOptions.MinLength.
	ErrPasswordTooShort = errors.New("password is too short")
	// ErrHashUnusable: a stored string is no password hash of a known format, or costs more than a Hasher computes. The
	// text has the reason.
	ErrHashUnusable = errors.New("not a usable password hash")
	// ErrBusy: no slot for hashing a password became free in time.
	ErrBusy = errors.New("too many passwords are being checked")
	// ErrAttachmentExists: an attachment with this name exists.
	ErrAttachmentExists = errors.New("attachment exists already")
	// ErrAttachmentNotFound: no attachment has this name, or this secret.
	ErrAttachmentNotFound = errors.New("attachment not found")
	// ErrAttachmentInvalid: an attachment with these properties is not allowed. The text has the reason.
	ErrAttachmentInvalid = errors.New("attachment is not valid")
	// ErrGatewayFull: a gateway has as many users as it may have.
	ErrGatewayFull = errors.New("the gateway has no room for more users")
	// ErrWebhookExists: a webhook with this name exists.
	ErrWebhookExists = errors.New("webhook exists already")
	// ErrWebhookNotFound: no webhook has this name.
	ErrWebhookNotFound = errors.New("webhook not found")
	// ErrWebhookInvalid: a webhook with these properties is not allowed. The text has the reason.
	ErrWebhookInvalid = errors.New("webhook is not valid")
	// ErrServerTooOld: the NATS server has no atomic batches, which need version 2.12.
	ErrServerTooOld = errors.New("nats-server is too old")
	// ErrNoJetStream: JetStream is not enabled on the NATS server, or not for this account.
	ErrNoJetStream = errors.New("JetStream is not enabled")
	// ErrStreamMismatch: a stream with the name of a bucket exists, and cannot be changed into that bucket.
	ErrStreamMismatch = errors.New("stream does not fit")
	// ErrNoState: no state is written. No server of this prefix has opened the buckets yet, or only servers of a
	// version without a state have.
	ErrNoState = errors.New("no state is kept")
	// ErrRestoreUnfinished: a restore was interrupted after the point of no return. It must be completed before the
	// buckets may be used.
	ErrRestoreUnfinished = errors.New("a restore was interrupted")
)
