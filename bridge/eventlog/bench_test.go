package eventlog

import (
	"testing"
	"time"

	"imctl/bridge/natstest"
)

// BenchmarkLogWithoutConsumers measures what a dialogue costs while the log has no consumer.
func BenchmarkLogWithoutConsumers(b *testing.B) {
	l := &Log{}
	d := delivered(nil, "1", `"p"`)
	for b.Loop() {
		if l.Attached() && l.AddDialogue(d) { // as delivery does
			b.Fatal("the log takes the dialogue")
		}
	}
}

// slot sends one dialogue at a time.
type slot struct{ free chan<- *slot }

func (s *slot) Logged(bool) { s.free <- s }

// BenchmarkLog measures dialogues that wait for the log, with a number of them in flight, on a server that syncs every
// write.
func BenchmarkLog(b *testing.B) {
	for _, c := range []struct {
		name     string
		inFlight int
	}{{"1", 1}, {"32", 32}, {"256", 256}, {"2048", 2048}} {
		b.Run(c.name, func(b *testing.B) {
			url := natstest.Start(b, b.TempDir(), -1).ClientURL()
			l := startLog(b, url, Options{})
			consumer(b, l, url, "d")
			free := make(chan *slot, c.inFlight)
			for range c.inFlight {
				free <- &slot{free}
			}
			payload := []byte(`"a payload of some length, as people write them"`)
			id := []byte(`"1"`)
			for b.Loop() {
				s := <-free
				l.AddDialogue(Dialogue{From: idA, To: idB, ID: id, Payload: payload, Sent: time.Now(), Done: s})
			}
			for range c.inFlight {
				<-free
			}
			groups, entries := metric(b, l, "imctl_log_group_entries")
			_, seconds := metric(b, l, "imctl_log_commit_seconds")
			b.ReportMetric(entries/float64(groups), "entries/group")
			b.ReportMetric(seconds/float64(groups)*1e3, "ms/commit")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "dialogues/s")
		})
	}
}
