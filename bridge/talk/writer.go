package talk

import (
	"cmp"
	"slices"
	"time"

	"imctl/kv"
)

const (
	recordDialogues = 256
	recordBytes     = 256 << 10 // a larger dialogue is a record of its own
	groupRecords    = 512       // NATS takes batches of up to 1,000 messages
	groupBytes      = 4 << 20
	queueDialogues  = 64 << 10
	queueBytes      = 64 << 20
	// sharePart is the part of the queue that one conversation may fill.
	sharePart = 4
	// gatherPart is the part of the duration of a batch, and gatherMost the time, that the next one waits at most for
	// the senders that were answered.
	gatherPart = 4
	gatherMost = time.Millisecond
	// headerRoom is more than NATS and the record add to the dialogues of a record.
	headerRoom = 2 << 10
	// fileRoom is more than the file of a dialogue adds. A record has at most one.
	fileRoom = 4 << 10
)

// Add queues a dialogue from its sender to a user. It copies ID, Payload and File, which is the id of a file. After an
// error done is not called.
//
// Errors: ErrBusy; ErrStalled for a dialogue that is not Kept; that of Options.MayWrite for a Kept dialogue.
func (s *Service) Add(to string, d kv.Dialogue, done Done) error { return s.add(to, d, done, false) }

// AddFixed is Add for a dialogue that is not Kept, and that is not delivered unless it is stored. It waits while the
// service is stalled.
func (s *Service) AddFixed(to string, d kv.Dialogue, done Done) error {
	return s.add(to, d, done, plain(&d))
}

func (s *Service) add(to string, d kv.Dialogue, done Done, fixed bool) error {
	p, err := s.admissible(to, &d)
	if err != nil {
		return err
	}
	plain := plain(&d)
	fixed = fixed || plain && !s.opts.MayDeliver()
	refused := s.opts.MayWrite()
	if refused != nil && (!plain || fixed) {
		return refused
	}
	wait := s.opts.Timeout
	if d.Kept {
		wait = s.opts.Wait
	}
	now := time.Now()
	stalled := refused != nil || s.failing.Load() || s.slow(now)
	it := newItem(&d, done, now.Add(wait))
	it.fixed = fixed
	if d.Kept {
		it.hash = s.hashID(d.From, d.ID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err = s.place(p, it, stalled); err != nil {
		freeItem(it)
	}
	return err
}

// place queues an item, or returns the reason why it does not. The caller holds s.mu.
func (s *Service) place(p kv.Pair, it *item, stalled bool) error {
	if s.closed {
		return errClosed
	}
	if c := s.convs[p]; stalled && it.plain() && !it.fixed && (c == nil || c.plain == 0) {
		s.metrics.live.Inc()
		return ErrStalled
	}
	if !stalled {
		s.storeLate(len(s.late.items)) // they were delivered before
	}
	c, size := s.conversation(p), it.size()
	if s.count >= queueDialogues || s.bytes+size > queueBytes ||
		c.count >= queueDialogues/sharePart || c.bytes+size > queueBytes/sharePart {
		return ErrBusy
	}
	if it.plain() {
		c.plain++
	}
	if it.fixed {
		c.fixed++
	}
	s.enqueue(c, it)
	return nil
}

// admissible returns the conversation of a dialogue, or the reason why it cannot be stored.
func (s *Service) admissible(to string, d *kv.Dialogue) (p kv.Pair, err error) {
	if int64(len(d.ID)+len(d.Payload)+headerRoom+fileRoom) > s.nc.MaxPayload() {
		return p, errSize
	}
	p = kv.PairOf(d.From, to)
	if p.A == p.B || !kv.ValidID(p.A) || !kv.ValidID(p.B) {
		return p, errUsers
	}
	return p, nil
}

// enqueue adds an item to the queue of its conversation, and schedules that. The caller holds s.mu.
func (s *Service) enqueue(c *conversation, it *item) {
	s.push(c, it)
	if !c.busy {
		c.busy = true
		s.busy++
		s.stir()
		s.schedule(c)
	}
}

// schedule queues a busy conversation for the writer, or for a worker if something must be read first. The caller
// holds s.mu.
func (s *Service) schedule(c *conversation) {
	if c.job == nil && c.head == nil || c.job != nil && c.job.doubt {
		s.tasks = append(s.tasks, c)
		s.work.Signal()
		return
	}
	s.ready = append(s.ready, c)
	if len(s.ready) == 1 {
		s.wake.Signal()
	}
	if len(s.ready) == s.want {
		s.enough <- struct{}{}
	}
}

// release ends the work on conversations, and schedules those that have more of it.
func (s *Service) release(convs ...*conversation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range convs {
		c.attended = false
		if c.stale && c.job == nil {
			c.stale = false
			c.reset()
		}
		s.ids.Add(int64(c.ids.len() - c.idsLen))
		c.idsLen = c.ids.len()
		if c.first != nil || c.job != nil {
			s.schedule(c)
			continue
		}
		c.busy = false
		s.busy--
	}
	s.evict()
	if s.closed && s.busy == 0 {
		s.wake.Broadcast()
		s.work.Broadcast()
	}
}

// next waits for conversations that can be committed, and appends them to dst. The result is empty after the last
// one.
func (s *Service) next(dst []*conversation) []*conversation {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.ready) == 0 && !(s.closed && s.busy == 0) {
		s.wake.Wait()
	}
	dst = append(dst, s.ready...)
	clear(s.ready)
	s.ready = s.ready[:0]
	return dst
}

// write commits what is ready, one group of records after the other.
func (s *Service) write() {
	var (
		convs           []*conversation
		before, records int // in the last two commits
		took            time.Duration
	)
	for {
		if convs = s.next(convs[:0]); len(convs) == 0 {
			return
		}
		for rest := convs; len(rest) > 0; {
			jobs := make([]*job, 0, min(len(rest), groupRecords))
			bytes, n := 0, 0
			for ; n < len(rest) && n < groupRecords && bytes < groupBytes; n++ {
				if j := s.prepare(rest[n]); j != nil {
					jobs = append(jobs, j)
					bytes += len(j.data)
				}
			}
			rest = rest[n:]
			s.commits <- struct{}{}
			started := time.Now()
			before, records = records, s.commit(jobs)
			<-s.commits
			took = time.Since(started)
		}
		clear(convs)
		if records > plainRecords && !s.opts.Plain {
			s.gather(before+records, min(took/gatherPart, gatherMost))
		}
	}
}

// gather waits until so many conversations are ready, but not for long. Senders that wait for one answer after the
// other would otherwise split into two halves that wait for each other's commits, and a batch costs much the same for
// both.
func (s *Service) gather(count int, limit time.Duration) {
	s.mu.Lock()
	s.want = count
	enough := len(s.ready) >= count || s.closed
	s.mu.Unlock()
	if !enough {
		timer := time.NewTimer(limit)
		select {
		case <-s.enough:
		case <-timer.C:
		}
		timer.Stop()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want = 0
	select {
	case <-s.enough:
	default:
	}
}

// prepare builds the next job of a conversation. It returns nil if a worker has to look at the first dialogue before.
func (s *Service) prepare(c *conversation) *job {
	if j := c.job; j != nil {
		c.job = nil
		return j
	}
	j := newJob(c)
	now := time.Now()
	s.mu.Lock()
	for bytes := 0; c.first != nil && len(j.items) < recordDialogues; {
		if bytes += c.first.size(); bytes > recordBytes && len(j.items) > 0 {
			break
		}
		j.items = append(j.items, s.pop(c))
	}
	s.mu.Unlock()
	c.numbered = c.head.Last
	at := now.UTC().Truncate(time.Millisecond)
	if at.Before(c.at) {
		at = c.at
	}
	for i, it := range j.items {
		if s.admit(j, it, now, at) {
			continue
		}
		s.mu.Lock()
		s.putBack(c, j.items[i:])
		if i == 0 {
			s.tasks = append(s.tasks, c)
			s.work.Signal()
		}
		s.mu.Unlock()
		if j.items = slices.Delete(j.items, i, len(j.items)); i == 0 {
			freeJob(j)
			return nil
		}
		break
	}
	if len(j.dialogues) > 0 {
		j.nonce = nonce()
		j.rec = c.head.Next(j.nonce, j.dialogues)
		j.data = j.rec.Append(j.data[:0])
	}
	return j
}

// exists reports whether the dialogue n is known to exist, or n is 0.
func (c *conversation) exists(n uint64) bool { return n == 0 || n >= c.known && n <= c.numbered }

// admit adds an item to a job. It returns false if a worker has to look at the item before.
func (s *Service) admit(j *job, it *item, now, at time.Time) bool {
	c := j.conv
	switch {
	case it.err != nil || it.stored != nil:
		return true
	case s.ctx.Err() != nil:
		it.err = errClosed
		return true
	case it.expired(now):
		it.err = cmp.Or(c.refused, errExpired)
		return true
	}
	if it.d.Kept {
		if c.ids == nil {
			return false
		}
		if n := c.ids.find(it.hash, c.numbered+1, now.UnixMilli()); n > c.head.Last {
			// The id of an item ahead, or another one with the same hash.
			if i := int(n - c.head.Last - 1); j.dialogues[i].From == it.d.From && sameID(j.dialogues[i].ID, it.d.ID) {
				it.again, it.index = true, i
				return true
			}
		} else if n != 0 && !it.checked {
			return false
		}
	}
	if !it.checked || it.nameless() {
		if it.nameless() || it.d.Changes() || !c.exists(it.d.Re) || !c.exists(it.d.Reacts) {
			return false
		}
	}
	it.index = len(j.dialogues)
	it.d.At = at
	j.dialogues = append(j.dialogues, it.d)
	c.numbered++
	if it.d.Kept {
		c.ids.add(it.hash, c.numbered, at.UnixMilli())
	}
	return true
}
