package bridge

import (
	"testing"
	"time"

	"imctl/bridge/wire"
)

// What a dialogue costs the log while nobody consumes it.
func BenchmarkLogWithoutConsumers(b *testing.B) {
	l := &EventLog{}
	f := taken(nil, "1", `"p"`)
	for b.Loop() {
		if l.takes(f) {
			b.Fatal("it is written")
		}
	}
}

// slot is an asker that has one dialogue under way at a time.
type slot struct{ free chan<- *slot }

func (s *slot) answered(*flight, wire.Code, time.Duration) { s.free <- s }

// Dialogues that wait for the log, with so many under way, on a server that syncs every write.
func BenchmarkLog(b *testing.B) {
	for _, c := range []struct {
		name     string
		inFlight int
	}{{"1", 1}, {"32", 32}, {"256", 256}, {"2048", 2048}} {
		b.Run(c.name, func(b *testing.B) {
			url := logServer(b, b.TempDir(), -1).ClientURL()
			l := startLog(b, url, EventLogOptions{})
			consumer(b, l, url, "d")
			free := make(chan *slot, c.inFlight)
			for range c.inFlight {
				free <- &slot{free}
			}
			payload := []byte(`"a payload of some length, as people write them"`)
			id := []byte(`"1"`)
			data := wire.AppendDialogue(nil, id, idA, payload)
			for b.Loop() {
				s := <-free
				l.takes(&flight{asker: s, subject: "im.user." + idB + ".dialogue", id: id, data: data, started: time.Now()})
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
