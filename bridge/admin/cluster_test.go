package admin_test

import (
	"context"
	"testing"

	"imctl/bridge/admin"
)

// fakeCluster has the given status, and records which ids were removed.
type fakeCluster struct {
	status  admin.ClusterStatus
	removed *[]string
}

func (c fakeCluster) Status(context.Context) (admin.ClusterStatus, error) { return c.status, nil }

func (c fakeCluster) Remove(_ context.Context, id string) error {
	*c.removed = append(*c.removed, id)
	return nil
}

// TestRemoveNode checks which nodes are removed, and by what name.
func TestRemoveNode(t *testing.T) {
	t.Parallel()
	serve := func(c admin.Cluster) *admin.Client {
		return setUp(t).serve(t, func(o *admin.Options) { o.Cluster = c })
	}
	var removed []string
	status := admin.ClusterStatus{Name: "c", Leader: "n1", Size: 4, Nodes: []admin.ClusterNode{
		{ID: "aaaaaaaa", Name: "n1", Alive: true, State: "ok"}, {ID: "bbbbbbbb", Name: "n2", State: "offline"},
		{ID: "44jzkV9D", State: "offline"}, // the id of a node "n2" whose name the leader does not know
		{Name: "n9", Alive: true, State: "not in the cluster"}}}
	c := serve(fakeCluster{status, &removed})
	_, err := c.RemoveNode(t.Context(), "n1", false)
	wantCode(t, err, admin.Invalid)
	for _, missing := range []string{"", "n3", "n9"} {
		_, err := c.RemoveNode(t.Context(), missing, true)
		wantCode(t, err, admin.NotFound)
	}
	for _, name := range []string{"n2", "44jzkV9D"} {
		if _, err := c.RemoveNode(t.Context(), name, false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.RemoveNode(t.Context(), "n1", true); err != nil {
		t.Error(err)
	}
	if len(removed) != 3 || removed[0] != "bbbbbbbb" || removed[1] != "44jzkV9D" || removed[2] != "aaaaaaaa" {
		t.Errorf("removed %q", removed)
	}

	unknown := status
	unknown.Nodes = status.Nodes[2:3]
	if n, err := serve(fakeCluster{unknown, &removed}).RemoveNode(t.Context(), "n2", false); err != nil || n.ID != "44jzkV9D" {
		t.Errorf("a node whose name the leader does not know: %+v, %v", n, err)
	}
	unknown.Leader = ""
	_, err = serve(fakeCluster{unknown, &removed}).RemoveNode(t.Context(), "n2", false)
	wantCode(t, err, admin.Failed)
	_, err = serve(nil).ClusterStatus(t.Context())
	wantCode(t, err, admin.Unavailable)
}
