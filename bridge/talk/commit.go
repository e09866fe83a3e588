package talk

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/kv"
	"imctl/kv/batch"
)

const (
	// plainRecords is the largest number of records that are published one by one. A batch costs the server as much
	// as ten to twenty single records.
	plainRecords = 8
	// commitWait is how long a commit waits for its acknowledgements. Then workers read its outcome, and publish it again.
	commitWait = time.Second
	// doubtTime is how long the outcome of a commit may be unknown until the plain dialogues in it are refused.
	doubtTime = 2 * time.Second
	// apartTime is how long the records of a conversation stay out of batches after a conflict: another node writes
	// to it, and one conflict makes the server refuse a whole batch.
	apartTime = 10 * time.Second
)

// nonce returns a random number that tells a record from all others.
func nonce() uint64 {
	for {
		if n := rand.Uint64(); n != 0 {
			return n
		}
	}
}

// commit stores the records of jobs, hands those with a known outcome to the goroutine that answers, and all others
// to the workers. It returns how many records there were.
func (s *Service) commit(jobs []*job) int {
	var records []*job
	dialogues := 0
	now := time.Now()
	for _, j := range jobs {
		if n := len(j.dialogues); n > 0 {
			records = append(records, j)
			dialogues += n
		}
	}
	connected := s.nc.IsConnected()
	if connected && len(records) > 0 {
		s.publish(records, now)
		s.metrics.group.Observe(float64(dialogues))
		s.metrics.commit.Observe(time.Since(now).Seconds())
	}
	done := make([]*job, 0, len(jobs))
	convs := make([]*conversation, 0, len(jobs))
	for _, j := range jobs {
		c := j.conv
		convs = append(convs, c)
		switch {
		case len(j.dialogues) == 0:
		case !connected && j.published.IsZero():
			j.refused, j.doubt = errLost, true
			s.failed(errLost)
			c.job = j
			continue
		case !connected || !s.stored(j):
			j.doubt = true // a worker reads the outcome
			c.job = j
			continue
		}
		done = append(done, j)
	}
	s.settle(done)
	s.release(convs...)
	return len(records)
}

// stored reports whether the record of a job is stored, and makes it the newest one of the conversation.
func (s *Service) stored(j *job) bool {
	if j.doubt || j.refused != nil {
		if j.refused == nil {
			j.unsure = true
			s.unknown.Store(time.Now().UnixNano())
		}
		s.failed(cmp.Or(j.refused, errUnknown))
		return false
	}
	j.rec.Seq = j.seq
	j.conv.advance(j.rec)
	j.conv.refused = nil
	s.recovered()
	return true
}

// recovered notes that records are written.
func (s *Service) recovered() {
	if s.failing.Load() && s.failing.CompareAndSwap(true, false) {
		s.opts.Log.Info("conversations can be written again")
	}
}

// errUnknown: NATS has not acknowledged a record in time.
var errUnknown = errors.New("no acknowledgement")

// failed logs that records are not written, once until a commit succeeds.
func (s *Service) failed(err error) {
	if !kv.Conflicting(err) && s.ctx.Err() == nil && s.failing.CompareAndSwap(false, true) {
		s.opts.Log.Error("conversations cannot be written", "err", err)
	}
}

// publish writes the records in the cheapest way, and sets the outcome of each job.
func (s *Service) publish(jobs []*job, now time.Time) {
	ctx, cancel := context.WithDeadline(s.ctx, now.Add(commitWait))
	defer cancel()
	s.began.Store(now.UnixNano())
	defer s.began.Store(0)
	s.mu.Lock()
	s.abort = cancel
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.abort = nil
		s.mu.Unlock()
	}()
	for _, j := range jobs {
		if !j.published.IsZero() {
			continue
		}
		j.published = now
		for _, it := range j.items {
			if doubted := now.Add(doubtTime); it.plain() && doubted.Before(it.expires) {
				it.expires = doubted
			}
		}
	}
	if s.opts.Plain || len(jobs) <= plainRecords {
		s.publishPlain(ctx, jobs)
		return
	}
	together, apart := make([]*job, 0, len(jobs)), []*job(nil)
	for _, j := range jobs {
		if now.Before(j.conv.apart) {
			apart = append(apart, j)
		} else {
			together = append(together, j)
		}
	}
	if len(together) > plainRecords && s.publishBatch(ctx, together) {
		together = nil
	}
	s.publishPlain(ctx, append(together, apart...))
}

// publishPlain publishes records one by one, without waiting between them.
func (s *Service) publishPlain(ctx context.Context, jobs []*job) {
	if len(jobs) == 0 {
		return
	}
	sequence := []string{""}
	m := &nats.Msg{Header: nats.Header{jetstream.ExpectedLastSubjSeqHeader: sequence, jetstream.ExpectedStreamHeader: {s.acks.stream}}}
	replies := make([]string, len(jobs))
	for i, j := range jobs {
		replies[i] = s.acks.expect(j)
	}
	defer s.acks.cancel(jobs)
	for i, j := range jobs {
		sequence[0] = strconv.FormatUint(j.conv.head.Seq, 10)
		m.Subject, m.Reply, m.Data = j.conv.subject, replies[i], j.data
		if err := s.nc.PublishMsg(m); err != nil { // it may have been written in part
			s.failed(err)
			return
		}
	}
	select {
	case <-s.acks.done:
	case <-ctx.Done():
	}
}

// publishBatch writes all records, or none, as one atomic batch. It returns false if the server has refused the
// batch: the records may then be published one by one.
func (s *Service) publishBatch(ctx context.Context, jobs []*job) bool {
	sequence := []string{""}
	stream := []string{s.acks.stream}
	ack, err := batch.Batch{
		ID:   strconv.FormatUint(nonce(), 36),
		Size: len(jobs),
		Message: func(i int, m *nats.Msg) {
			sequence[0] = strconv.FormatUint(jobs[i].conv.head.Seq, 10)
			m.Header[jetstream.ExpectedLastSubjSeqHeader], m.Header[jetstream.ExpectedStreamHeader] = sequence, stream
			m.Subject, m.Data = jobs[i].conv.subject, jobs[i].data
		},
	}.Publish(ctx, s.nc)
	var refused *jetstream.APIError
	if errors.As(err, &refused) {
		return false
	}
	for i, j := range jobs {
		j.refused, j.doubt, j.seq = nil, err != nil, 0
		if err == nil {
			j.seq = ack.Sequence - uint64(len(jobs)-1-i)
		}
	}
	if err != nil {
		s.failed(err)
	}
	return true
}
