package natsauth_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/bridgetest"
)

// TestGuardSendsNothing: on the embedded NATS server the limits of connections cost no messages. A server with an idle
// client is itself idle.
func TestGuardSendsNothing(t *testing.T) {
	t.Parallel()
	for name, asks := range map[string]bool{"embedded": false, "attached": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := bridgetest.Start(t, bridgetest.Options{AsksSystem: asks})
			s.AsUser(t, s.Register(t))
			system, err := s.NATS.System("test")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(system.Close)
			asked := make(chan *nats.Msg, 64)
			if _, err := system.ChanSubscribe("$SYS.REQ.SERVER.>", asked); err != nil {
				t.Fatal(err)
			}
			wait := 2 * time.Second
			if asks {
				wait = bridgetest.WaitTimeout
			}
			select {
			case m := <-asked:
				if !asks {
					t.Errorf("the server asked NATS: %s", m.Subject)
				}
			case <-time.After(wait): // several rounds of the guard
				if asks {
					t.Error("the server asked NATS nothing: the test does not see its requests")
				}
			}
		})
	}
}
