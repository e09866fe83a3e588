package talk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// acks takes the acknowledgements of records that are published one by one. One subscription serves all of them: a
// publish of the JetStream client costs a future, two channels and a timer for each.
type acks struct {
	stream string
	inbox  string // with the dot
	stored []byte // how an acknowledgement begins
	sub    *nats.Subscription

	mu      sync.Mutex
	token   uint64
	waiting map[uint64]*job
	done    chan struct{} // takes a value when waiting becomes empty
}

func newAcks(nc *nats.Conn, stream string) (*acks, error) {
	a := &acks{stream: stream, inbox: nc.NewInbox() + ".", stored: []byte(`{"stream":"` + stream + `","seq":`),
		waiting: make(map[uint64]*job), done: make(chan struct{}, 1)}
	var err error
	if a.sub, err = nc.Subscribe(a.inbox+"*", a.receive); err != nil {
		return nil, err
	}
	return a, a.sub.SetPendingLimits(-1, -1) // at most one acknowledgement a record, and few records at once
}

// expect registers a job that is about to be published, and returns the subject of its acknowledgement. Until then
// the outcome is in doubt.
func (a *acks) expect(j *job) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token++
	j.token, j.seq, j.refused, j.doubt = a.token, 0, nil, true
	a.waiting[j.token] = j
	return a.inbox + strconv.FormatUint(j.token, 36)
}

// cancel ends the wait for jobs.
func (a *acks) cancel(jobs []*job) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, j := range jobs {
		delete(a.waiting, j.token)
	}
	select {
	case <-a.done:
	default:
	}
}

// receive takes an acknowledgement.
func (a *acks) receive(m *nats.Msg) {
	token, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, a.inbox), 36, 64)
	if err != nil {
		return
	}
	seq, refused, ok := a.parse(m)
	a.mu.Lock()
	defer a.mu.Unlock()
	j := a.waiting[token]
	if j == nil {
		return
	}
	j.seq, j.refused, j.doubt = seq, refused, !ok
	delete(a.waiting, token)
	if len(a.waiting) == 0 {
		a.done <- struct{}{}
	}
}

// parse returns the sequence of a stored record, or the reason why the server has not stored it. ok is false if the
// message shows neither.
func (a *acks) parse(m *nats.Msg) (seq uint64, refused error, ok bool) {
	if m.Header.Get("Status") == "503" {
		return 0, nats.ErrNoResponders, true
	}
	if rest, found := bytes.CutPrefix(m.Data, a.stored); found {
		if end := bytes.IndexAny(rest, ",}"); end > 0 {
			if seq, err := strconv.ParseUint(string(rest[:end]), 10, 64); err == nil && seq > 0 {
				return seq, nil, true
			}
		}
	}
	var answer struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
		Seq    uint64              `json:"seq"`
	}
	switch err := json.Unmarshal(m.Data, &answer); {
	case err != nil:
		return 0, nil, false
	case answer.Error != nil:
		return 0, answer.Error, true
	case answer.Stream != a.stream:
		return 0, fmt.Errorf("%q stored the record instead of %q", answer.Stream, a.stream), true
	}
	return answer.Seq, nil, answer.Seq > 0
}
