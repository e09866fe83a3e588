package bridge

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"imctl/bridge/eventlog"
	"imctl/bridge/natstest"
	"imctl/kv"
)

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
