package embedded

import (
	"net"
	"testing"
)

// TestOwnConns: a connection counts until it is closed for the first time.
func TestOwnConns(t *testing.T) {
	t.Parallel()
	var own ownConns
	a, b := net.Pipe()
	first, second := own.count(a), own.count(b)
	if n := own.open.Load(); n != 2 {
		t.Fatalf("%d connections, want 2", n)
	}
	for range 2 {
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := own.open.Load(); n != 1 {
		t.Errorf("%d connections after one was closed twice, want 1", n)
	}
	if err := second.Close(); err != nil || own.open.Load() != 0 {
		t.Errorf("%d connections at the end, want none: %v", own.open.Load(), err)
	}
}
