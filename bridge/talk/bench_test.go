//go:build unix

package talk

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"imctl/kv"
)

// slot sends one dialogue at a time in a conversation.
type slot struct {
	to   string
	free chan<- *slot
	err  error
}

func (s *slot) Stored(*kv.Dialogue, bool) { s.free <- s }
func (s *slot) Unstored(*kv.Dialogue)     { s.Failed(ErrStalled) }
func (s *slot) Failed(err error) {
	s.err = err
	s.free <- s
}

// cpu returns how long the process has used a processor.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAddCommit measures dialogues of 25 conversations, with a number of them in flight in each, on a server
// that syncs every write. The CPU time is that of the whole process, with the NATS server.
func BenchmarkAddCommit(b *testing.B) {
	const pairs = 25
	for _, window := range []int{1, 32} {
		b.Run(fmt.Sprint("window=", window), func(b *testing.B) {
			s := startService(b, newURL(b), Options{})
			free := make(chan *slot, pairs*window)
			for i := range pairs {
				slot := &slot{to: fmt.Sprintf("%032x", i+1), free: free}
				stored(b, s, slot.to, say(idB, "first"))
				for range window {
					free <- slot
				}
			}
			d := say(idB, "")
			d.Payload = []byte(`"a payload of some length, as people write them"`)
			n := uint64(0)
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				slot := <-free
				if slot.err != nil {
					b.Fatal(slot.err)
				}
				n++
				d.ID = fmt.Appendf(d.ID[:0], `"%036d"`, n) // as long as a UUID
				if err := s.Add(slot.to, d, slot); err != nil {
					b.Fatal(err)
				}
			}
			for range pairs * window {
				<-free
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(n), "µs-CPU/dialogue")
			b.ReportMetric(float64(n)/counter(b, s, "imctl_dialogues_group", ""), "dialogues/commit")
		})
	}
}
