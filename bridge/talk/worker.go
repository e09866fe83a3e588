package talk

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/wire"
	"imctl/kv"
)

// Workers read what the writer needs, so that a conversation that is not in memory delays no other one.
const (
	workers = 8
	// readTimeout bounds the reads of a worker for one conversation.
	readTimeout = time.Second
	// retryPause is the time between two tries for a conversation, and after a failed read the time without reads.
	retryPause = 50 * time.Millisecond
	sweepEvery = 100 * time.Millisecond
	// sweepsQuiet is the least number of sweeps between two rests: a busy service need not end a rest for each dialogue.
	sweepsQuiet = 20
	// sweepLate is how long after its time a dialogue expires that a worker has not found meanwhile.
	sweepLate = 500 * time.Millisecond
)

// errMore: a read is not complete yet, and the next try goes on.
var errMore = errors.New("more is to be read")

// serve attends to conversations.
func (s *Service) serve() {
	for {
		c := s.nextTask()
		if c == nil {
			return
		}
		s.attend(c)
	}
}

// nextTask waits for a conversation. It returns nil after the last one.
func (s *Service) nextTask() *conversation {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.tasks) == 0 {
		if s.closed && s.busy == 0 {
			return nil
		}
		s.work.Wait()
	}
	c := s.tasks[0]
	s.tasks[0] = nil
	s.tasks = s.tasks[1:]
	return c
}

// attend does what the writer cannot do for a conversation, and releases it.
func (s *Service) attend(c *conversation) {
	err := s.unpublish(c)
	if s.settle(s.tidy(c, err != nil)); s.idle(c) {
		s.release(c)
		return
	}
	if err == nil {
		err = s.reachable()
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(s.ctx, readTimeout)
		err = s.look(ctx, c)
		cancel()
		if err != nil && !errors.Is(err, errMore) {
			s.muted.Store(time.Now().Add(retryPause).UnixMilli())
		}
	}
	var jobs []*job
	known := err == nil || errors.Is(err, errMore)
	if !known {
		s.failed(err)
	}
	s.mu.Lock()
	c.attended = false
	if !known || c.job != nil {
		jobs = s.expire(c, time.Now())
	}
	s.mu.Unlock()
	if s.settle(jobs); known || s.idle(c) {
		s.release(c)
		return
	}
	time.AfterFunc(retryPause, func() { s.release(c) })
}

// unpublish ends the job of a conversation if it is known that its record is not stored. It returns the reason if its
// dialogues are to be published again, a moment later.
func (s *Service) unpublish(c *conversation) error {
	j := c.job
	if j == nil || j.refused == nil || j.unsure || kv.Conflicting(j.refused) {
		return nil
	}
	c.refused = j.refused
	switch {
	case !transient(j.refused):
		s.refuse(c, j.refused)
		return nil
	case !errors.Is(j.refused, errLost) && !errors.Is(j.refused, nats.ErrNoResponders):
		j.unsure = true // a leader that loses its place refuses records that the next one may store
		return nil
	}
	c.ids.truncate(c.head.Last)
	s.requeue(c)
	return c.refused
}

// tidy answers the dialogues that wait for nothing any more, and has a worker look at the first one of the others. A job
// that has expired is first looked at, unless it is refused.
func (s *Service) tidy(c *conversation, refused bool) (jobs []*job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.attended = false
	if now := time.Now(); refused || c.job == nil || s.ctx.Err() != nil || !s.nc.IsConnected() {
		jobs = s.expire(c, now)
	}
	if s.failing.Load() {
		if j := s.shed(c); j != nil {
			jobs = append(jobs, j)
		}
	}
	c.attended = c.job == nil
	return jobs
}

// idle reports whether a conversation has nothing to do.
func (s *Service) idle(c *conversation) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.first == nil && c.job == nil
}

// reachable returns an error if a read is of no use at the moment.
func (s *Service) reachable() error {
	switch {
	case s.ctx.Err() != nil:
		return errClosed
	case !s.nc.IsConnected():
		return errLost
	case time.Now().UnixMilli() < s.muted.Load():
		return errMuted
	}
	return nil
}

var errMuted = errors.New("NATS has not answered a read in time")

// look reads what the conversation needs next.
func (s *Service) look(ctx context.Context, c *conversation) error {
	if c.job != nil {
		return s.repair(ctx, c)
	}
	s.mu.Lock()
	it := c.first
	s.mu.Unlock()
	if it == nil {
		return nil
	}
	var head *kv.Record // the newest record with its dialogues; nil: none, or not read
	if c.head == nil {
		var err error
		if head, err = s.load(ctx, c); err != nil {
			return err
		}
	}
	c.numbered = c.head.Last
	if it.d.Kept && c.ids == nil {
		if err := s.loadIDs(ctx, c, head); err != nil {
			return err
		}
	}
	if !s.unsettled(c, it) {
		return nil
	}
	return s.check(ctx, c, it)
}

// unsettled reports whether the writer cannot decide on the first dialogue.
func (s *Service) unsettled(c *conversation, it *item) bool {
	return it.nameless() || !it.checked && (it.d.Kept && c.ids.find(it.hash, c.head.Last+1, time.Now().UnixMilli()) != 0 ||
		it.d.Changes() || !c.exists(it.d.Re) || !c.exists(it.d.Reacts))
}

// errOutdated: a leader that does not know yet that it was replaced answers with an earlier record than the newest one
// that is known.
var errOutdated = errors.New("the answer of an earlier leader")

// newest reads the newest record of a conversation, or nil if there is none. Errors: errOutdated.
func (s *Service) newest(ctx context.Context, c *conversation) (*kv.Record, error) {
	known := c.idsSeq
	if c.head != nil {
		known = c.head.Seq
	}
	r, err := s.opts.Talks.Last(ctx, c.pair)
	if err == nil && r != nil && r.Seq < known {
		return nil, errOutdated
	}
	return r, err
}

// load reads the newest record of a conversation.
func (s *Service) load(ctx context.Context, c *conversation) (*kv.Record, error) {
	r, err := s.newest(ctx, c)
	if err != nil {
		return nil, err
	}
	base := uint64(0)
	if r == nil {
		if base, err = s.base(ctx, c.pair); err != nil {
			return nil, err
		}
	}
	if err := s.catchUp(ctx, c, r, c.idsSeq); err != nil {
		return nil, err
	}
	c.adopt(r, base)
	return r, nil
}

// base returns the largest number that a conversation without records has used, as far as its users' cursors show.
func (s *Service) base(ctx context.Context, p kv.Pair) (base uint64, err error) {
	for _, user := range [...]string{p.A, p.B} {
		cursors, err := s.Cursors(ctx, user)
		if err != nil {
			return 0, err
		}
		e := cursors[p.Other(user)]
		base = max(base, e.Last, e.Got, e.Read, e.Forgot, e.PeerGot, e.PeerRead)
	}
	return base, nil
}

// refresh reads the newest record of a conversation, which another node may have written.
func (s *Service) refresh(ctx context.Context, c *conversation) (*kv.Record, error) {
	head, err := s.newest(ctx, c)
	if err != nil || sequence(head) == c.head.Seq {
		return head, err
	}
	return head, s.follow(ctx, c, head)
}

// follow makes head, which another node has written, the newest record of a conversation. head is nil if all records
// have expired.
func (s *Service) follow(ctx context.Context, c *conversation, head *kv.Record) (err error) {
	base := uint64(0)
	if head == nil {
		if base, err = s.base(ctx, c.pair); err != nil {
			return err
		}
	}
	if err := s.catchUp(ctx, c, head, c.head.Seq); err != nil {
		return err
	}
	c.adopt(head, base)
	c.numbered = c.head.Last
	return nil
}

// check decides on a dialogue whose id was used before, perhaps, or that names other dialogues.
func (s *Service) check(ctx context.Context, c *conversation, it *item) error {
	head, err := s.refresh(ctx, c)
	if err != nil {
		return err
	}
	if it.d.Kept && c.ids == nil { // another node has written much
		return errMore
	}
	if it.d.Kept {
		if n := c.ids.find(it.hash, c.head.Last+1, time.Now().UnixMilli()); n != 0 {
			d, _, err := s.dialogue(ctx, head, n)
			if err != nil && !errors.Is(err, kv.ErrNoDialogue) {
				return err
			}
			if d != nil && d.From == it.d.From && sameID(d.ID, it.d.ID) {
				it.stored = d
				return nil
			}
		}
	}
	if err = s.checkNumbers(ctx, c, it, head); err == nil {
		err = s.readFile(ctx, c, it)
	}
	switch {
	case errors.Is(err, kv.ErrNoDialogue), errors.Is(err, errNotAllowed), errors.Is(err, kv.ErrNoFile):
		it.err = wire.ProtocolError
	case err != nil:
		return err
	}
	it.checked = true
	return nil
}

// errNotAllowed: the sender must not change that dialogue.
var errNotAllowed = errors.New("not a dialogue that the sender may change")

// checkNumbers returns an error if a number in a dialogue is not right. Errors: kv.ErrNoDialogue, errNotAllowed.
func (s *Service) checkNumbers(ctx context.Context, c *conversation, it *item, head *kv.Record) error {
	for _, n := range [...]uint64{it.d.Re, it.d.Reacts} {
		if !c.exists(n) {
			if _, _, err := s.dialogue(ctx, head, n); err != nil {
				return err
			}
		}
	}
	for _, n := range [...]uint64{it.d.Edits, it.d.Deletes} {
		if n == 0 {
			continue
		}
		d, r, err := s.dialogue(ctx, head, n)
		if err != nil {
			return err
		}
		if d.From != it.d.From || d.Changes() {
			return errNotAllowed
		}
		if it.d.Edits == 0 {
			if err := s.removeFile(ctx, d); err != nil {
				return err
			}
			continue
		}
		shown, err := s.opts.Talks.Shown(ctx, head, r, it.d.From)
		if err != nil {
			return err
		}
		for i := range shown {
			if shown[i].N == n && shown[i].Deleted {
				return errNotAllowed
			}
		}
	}
	return nil
}

// readFile reads the file that a dialogue names. Errors: kv.ErrNoFile, also if it is none that the sender has sent to this
// friend.
func (s *Service) readFile(ctx context.Context, c *conversation, it *item) (err error) {
	if !it.nameless() {
		return nil
	}
	if s.opts.Files == nil {
		return kv.ErrNoFile
	}
	it.d.File, err = s.opts.Files.Mention(ctx, it.file, it.d.From, c.pair.Other(it.d.From))
	return err
}

// removeFile removes the file of a dialogue that is about to be deleted: a deletion that is stored leaves no file.
func (s *Service) removeFile(ctx context.Context, d *kv.Dialogue) error {
	if d.File == nil || s.opts.Files == nil {
		return nil
	}
	return s.opts.Files.Remove(ctx, kv.FileID(d.File))
}

// dialogue returns the dialogue n, and the record that has it. Errors: kv.ErrNoDialogue.
func (s *Service) dialogue(ctx context.Context, head *kv.Record, n uint64) (*kv.Dialogue, *kv.Record, error) {
	if head == nil || n > head.Last {
		return nil, nil, kv.ErrNoDialogue
	}
	r, err := s.opts.Talks.Find(ctx, head, n)
	if err != nil {
		return nil, nil, err
	}
	for i := range r.Dialogues {
		if r.Dialogues[i].N == n {
			return &r.Dialogues[i], r, nil
		}
	}
	return nil, nil, kv.ErrNoDialogue
}

// transient reports whether the server may store a record that it has refused.
func transient(err error) bool {
	return kv.Transient(err) || errors.Is(err, errLost) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse)
}

// refuse gives up the job of a conversation. Since its outcome may not be known, the newest record is read again.
func (s *Service) refuse(c *conversation, reason error) {
	j := c.job
	c.job = nil
	j.err = cmp.Or(j.refused, reason)
	c.forget()
	s.settle([]*job{j})
}
