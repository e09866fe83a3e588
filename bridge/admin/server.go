package admin

import (
	"context"

	"imctl/bridge/cluster"
)

// Status is how the servers are.
type Status struct {
	Accounts int                  `json:"accounts"`
	Nodes    []cluster.NodeStatus `json:"nodes"` // none where no server runs
}

// FollowLog asks for a consumer on the log for somebody who watches.
type FollowLog struct {
	Filter string `json:"filter,omitempty"` // the part of the log, without its prefix; "" for all
}

// Follower is the consumer. It goes by itself some seconds after nobody takes entries from it any more.
type Follower struct {
	Stream   string `json:"stream"`
	Consumer string `json:"consumer"`
}

func (s *Service) serverEndpoints() []endpoint {
	return []endpoint{
		{"server", "status", "How many accounts there are, and how each node is", `{}`,
			`{"accounts", "nodes": [{"id", "host", "version", "started", "sessions", "users", "state": ok or what is the matter}]}`,
			"failed", handler(s.status)},
		{"log", "follow", "Make a consumer on the log for somebody who watches it live; it goes by itself",
			`{"filter": part of the log, such as dialogue.>}; may be left out`, `{"stream", "consumer"}: a pull consumer without acknowledgements`,
			"invalid, unavailable, failed", handler(s.followLog)},
	}
}

func (s *Service) status(ctx context.Context, _ struct{}) (st Status, err error) {
	st.Nodes = []cluster.NodeStatus{}
	if st.Accounts, err = s.o.Store.Users.Count(ctx); err == nil && s.o.Live != nil {
		st.Nodes, err = s.o.Live.Nodes(ctx)
	}
	return st, err
}

func (s *Service) followLog(ctx context.Context, r FollowLog) (f Follower, err error) {
	live, err := s.live()
	if err == nil {
		f.Stream, f.Consumer, err = live.FollowLog(ctx, r.Filter)
	}
	return f, err
}
