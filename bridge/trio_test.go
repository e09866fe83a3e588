package bridge

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"imctl/bridge/eventlog"
	"imctl/bridge/natstest"
	"imctl/kv"
)

// trio is a cluster of three NATS servers in this process. Without two of them the third has no quorum.
type trio struct {
	opts    [3]*server.Options
	servers [3]*server.Server
}

func startTrio(t *testing.T) *trio {
	t.Helper()
	c := new(trio)
	unused := &url.URL{Scheme: "nats-route", Host: "127.0.0.1:1"} // each server derives the size of the cluster from two routes
	routes := []*url.URL{unused, unused}
	for i := range c.opts {
		c.opts[i] = &server.Options{ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, Routes: routes[len(routes)-2:],
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: server.RANDOM_PORT}, JetStream: true, StoreDir: t.TempDir(),
			JetStreamMaxStore: 1 << 40, JetStreamMaxMemory: 1 << 30, NoSigs: true, NoLog: true}
		c.start(t, i)
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: c.servers[i].ClusterAddr().String()})
	}
	for i := range c.opts {
		c.opts[i].Cluster.Port = c.servers[i].ClusterAddr().Port
		c.opts[i].Routes = routes[2:]
	}
	t.Cleanup(func() {
		for _, s := range c.servers {
			natstest.Stop(s)
		}
	})
	return c
}

func (c *trio) start(t *testing.T, i int) {
	t.Helper()
	s, err := server.NewServer(c.opts[i].Clone())
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("a NATS server did not start")
	}
	c.servers[i] = s
}

// startKeeping starts a node that keeps conversations in streams with three replicas.
func startKeeping(t *testing.T, natsURL string) *node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	store, err := kv.Open(ctx, natstest.Connect(t, natsURL), kv.Options{Replicas: 3, Talks: &kv.TalksOptions{MaxAge: time.Hour, MaxBytes: 1 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	b := runBridge(t, natsURL, store, eventlog.Options{Replicas: 3}, func(o *Options) {
		o.Dialogues.Keep, o.Dialogues.Timeout, o.Audit.Replicas = true, 10*time.Second, 3
	})
	s := httptest.NewServer(b.Handler())
	t.Cleanup(s.Close)
	return &node{Bridge: b, base: s.URL}
}
