package natstest

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestCluster stores a message while each node in turn is killed, hangs, or is cut off from the others.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 3)
	put := func(n *ClusterNode, replicas int) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		js, err := jetstream.New(Connect(t, n.URL()))
		if err != nil {
			return err
		}
		if _, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: replicas}); err != nil {
			return err
		}
		_, err = js.Publish(ctx, "s", nil, jetstream.WithRetryAttempts(100))
		return err
	}
	if err := put(c.Nodes[0], 3); err != nil {
		t.Fatal(err)
	}
	if c.StreamLeader("S") == nil {
		t.Error("the stream has no leader")
	}
	c.Nodes[0].Kill()
	c.AwaitLeader(t)
	c.Nodes[0].Restart(t)
	c.AwaitLeader(t)
	if err := put(c.Nodes[1], 3); err != nil {
		t.Error(err)
	}
	nc := Connect(t, c.Nodes[2].URL())
	c.Nodes[2].Hang()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := nc.FlushWithContext(ctx); err == nil {
		t.Error("a server that hangs answers")
	}
	c.Nodes[2].Resume()
	if err := nc.FlushTimeout(time.Minute); err != nil {
		t.Error(err)
	}
	c.Nodes[2].Isolate()
	if err := nc.FlushTimeout(time.Minute); err != nil {
		t.Errorf("a server that is cut off does not answer its clients: %v", err)
	}
}
