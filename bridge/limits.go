package bridge

import "imctl/bridge/limit"

// limiters count what Limits bound.
type limiters struct {
	registrations      *limit.Keyed
	logins             *limit.Keyed
	failuresByAddress  *limit.Keyed
	failuresByAccount  *limit.Keyed
	forgottenByAddress *limit.Keyed
	forgottenByAccount *limit.Keyed
	sends              *limit.Keyed // dialogues of users that are NATS clients
	dialogues          limit.Rate
	picture            int
}

func newLimiters(l Limits) *limiters {
	return &limiters{
		registrations:      limit.New(l.Registrations, 0, 0),
		logins:             limit.New(l.Logins, 0, 0),
		failuresByAddress:  limit.New(l.LoginFailures, 0, 0),
		failuresByAccount:  limit.New(l.LoginFailures, 0, 0),
		forgottenByAddress: limit.New(l.Forgotten, 0, 0),
		forgottenByAccount: limit.New(l.Forgotten, 0, 0),
		sends:              limit.New(l.Dialogues, 0, 0),
		dialogues:          l.Dialogues,
		picture:            l.Picture,
	}
}
