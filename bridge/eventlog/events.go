package eventlog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"imctl/bridge/subject"
)

// ErrEvent: a name is not that of an event.
var ErrEvent = errors.New("unknown event")

// named are the events that a webhook may name, with the filters of their entries.
var named = []struct{ name, filter string }{
	{"dialogue", "dialogue.>"},
	{"dialogue.offline", subject.OfflineKind + ".>"},
	{"user.*", "user.>"},
	{"user.created", "user.created.>"},
	{"user.updated", "user.updated.>"},
	{"user.password", "user.password.>"},
	{"user.disabled", "user.disabled.>"},
	{"user.enabled", "user.enabled.>"},
	{"user.deleted", "user.deleted.>"},
	{"friend.*", "friend.>"},
	{"friend.requested", "friend.requested.>"},
	{"friend.added", "friend.added.>"},
	{"friend.named", "friend.named.>"},
	{"friend.removed", "friend.removed.>"},
	{"friend.withdrawn", "friend.withdrawn.>"},
	{"friend.blocked", "friend.blocked.>"},
	{"friend.unblocked", "friend.unblocked.>"},
	{"session.*", "session.>"},
	{"session.began", "session.began.>"},
	{"session.ended", "session.ended.>"},
	{"report", "report.>"},
}

// EventNames returns the names that EventFilters knows.
func EventNames() []string {
	all := make([]string, len(named))
	for i, e := range named {
		all[i] = e.name
	}
	return all
}

// EventFilters returns the filters of the entries of events. None includes another.
//
// Errors: ErrEvent, with the list of the names.
func EventFilters(events []string) ([]string, error) {
	var filters []string
	for _, event := range events {
		i := slices.IndexFunc(named, func(e struct{ name, filter string }) bool { return e.name == event })
		if i < 0 {
			return nil, fmt.Errorf("%w %q: use some of %s", ErrEvent, event, strings.Join(EventNames(), ", "))
		}
		filters = append(filters, named[i].filter)
	}
	if len(filters) == 0 {
		return nil, fmt.Errorf("%w: name at least one of %s", ErrEvent, strings.Join(EventNames(), ", "))
	}
	slices.Sort(filters)
	filters = slices.Compact(filters)
	return slices.DeleteFunc(slices.Clone(filters), func(f string) bool {
		return slices.ContainsFunc(filters, func(other string) bool { return other != f && subject.Includes(other, f) })
	}), nil
}

// EventName returns the name of an entry's event. words is its subject without the prefix, as subject.Prefix.TrimLog
// returns it.
func EventName(words string) string {
	kind, rest, _ := strings.Cut(words, ".")
	switch kind {
	case subject.OfflineKind:
		return "dialogue.offline"
	case "dialogue", "report":
		return kind
	}
	what, _, _ := strings.Cut(rest, ".")
	return kind + "." + what
}
