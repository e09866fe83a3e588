package admin

import (
	"context"

	"imctl/bridge/cluster"
)

// Status is the state of the servers.
type Status struct {
	Accounts int                  `json:"accounts"`
	Nodes    []cluster.NodeStatus `json:"nodes"` // empty if no server runs
}

// FollowLog requests an ephemeral consumer of the log, for following it live.
type FollowLog struct {
	Filter string `json:"filter,omitempty"` // the part of the log, without its prefix; "" for all
}

// Follower is the consumer. NATS deletes it after some seconds without a pull request.
type Follower struct {
	Stream   string `json:"stream"`
	Consumer string `json:"consumer"`
}

func (s *Service) serverEndpoints() []endpoint {
	return []endpoint{
		{"server", "status", "Show the number of accounts and the state of each node", `{}`,
			`{"accounts", "nodes": [{"id", "host", "version", "started", "sessions", "users", "state": ok, or the problem, "hooks": those that moderators do not answer, "auth": modes that cannot check passwords, "load": counters since the start, and what the node uses}]}`,
			"failed", handler(s.status)},
		{"log", "follow", "Create an ephemeral consumer of the log, for following it live",
			`{"filter": part of the log, such as dialogue.>}; optional`, `{"stream", "consumer"}: a pull consumer without acknowledgements`,
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
