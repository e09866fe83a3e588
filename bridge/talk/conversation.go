package talk

import (
	"container/list"
	"slices"
	"sync"
	"time"

	"imctl/kv"
)

// Bounds of the memory of all conversations. Those that are busy do not count, since the queue bounds them.
const (
	maxConversations = 32 << 10
	maxIDs           = 512 << 10
	// maxSkipped bounds how many conversations evict looks at until it finds an idle conversation.
	maxSkipped = 64
)

// conversation is what a service knows of a conversation. A goroutine owns it while it is busy: the writer those in
// ready, a worker those in tasks.
type conversation struct {
	pair    kv.Pair
	subject string

	// Guarded by Service.mu.
	place       *list.Element
	busy        bool
	attended    bool // a worker looks at the first item
	stale       bool // what is known of it is of before a restore
	first, last *item
	count       int // items in the queue
	bytes       int // of these items
	plain       int // plain dialogues that are not answered yet, in the queue or not
	plainQueued int // of these, those in the queue
	fixed       int // of these, those that are to be stored although the service is stalled

	// Of the owner.
	head     *kv.Record // the newest record, without its dialogues; nil: not known
	floor    uint64     // numbers up to this one have been used
	known    uint64     // dialogues from this number to the head's last exist
	at       time.Time  // of the newest dialogue
	ids      *ids       // nil: not known
	idsSeq   uint64     // of the last head, while head is not known: ids has those up to it
	idsLen   int        // part of Service.ids
	walk     *idWalk    // reads ids; nil: not begun
	job      *job       // is to be published again, or in doubt
	refused  error      // why its last record was not stored; nil: it was
	apart    time.Time  // its records are in no batch until then
	numbered uint64     // the last number of the job that is built; while none is, of the head
}

// item is a dialogue that waits.
type item struct {
	next    *item
	d       kv.Dialogue
	text    []byte    // has d.ID and d.Payload
	file    string    // id of the file that it names, which is read into d.File; "": none
	done    Done      // nil: it was answered before the outcome of its job is known
	expires time.Time // never, if d.Live
	hash    uint64    // of the sender and the id, if d.Kept

	fixed   bool         // it is plain, and is to be stored although the service is stalled
	checked bool         // its id is new, and the numbers in it are right
	err     error        // the outcome, known before the commit
	stored  *kv.Dialogue // the outcome: the dialogue that was stored before with this id
	again   bool         // an item ahead of it in its job has the same id
	index   int          // of its dialogue in its job
}

// job is what a commit does for one conversation: it stores a record, unless it has no dialogues.
type job struct {
	conv      *conversation
	items     []*item
	dialogues []kv.Dialogue
	rec       *kv.Record
	nonce     uint64
	data      []byte    // the encoded record
	published time.Time // for the first time
	token     uint64    // of its acknowledgement
	seq       uint64    // the outcome: stored with this sequence
	refused   error     // the outcome: the server did not store it
	doubt     bool      // a worker has to find out the outcome
	unsure    bool      // a try ended without an answer, so a refusal of a later try is not the outcome
	conflicts int       // with records that were not to be read
	err       error     // refuses all dialogues
}

var (
	itemPool = sync.Pool{New: func() any { return new(item) }}
	jobPool  = sync.Pool{New: func() any { return new(job) }}
)

// maxPooled is the largest buffer that is used again.
const maxPooled = 64 << 10

func newItem(d *kv.Dialogue, done Done, expires time.Time) *item {
	it := itemPool.Get().(*item)
	text := append(append(it.text[:0], d.ID...), d.Payload...)
	*it = item{d: *d, text: text, file: string(d.File), done: done, expires: expires}
	it.d.File = nil
	it.d.ID, it.d.Payload = text[:len(d.ID):len(d.ID)], text[len(d.ID):]
	return it
}

func freeItem(it *item) {
	text := it.text[:0]
	if cap(text) > maxPooled {
		text = nil
	}
	*it = item{text: text}
	itemPool.Put(it)
}

// abandon returns an item that takes the outcome in place of it, which stays a part of its job.
func (it *item) abandon() *item {
	a := itemPool.Get().(*item)
	*a = item{text: a.text[:0], d: kv.Dialogue{Kept: it.d.Kept, Live: it.d.Live}, fixed: it.fixed, done: it.done}
	it.done = nil
	return a
}

func (it *item) size() int { return len(it.text) + len(it.file) + itemSize }

// nameless reports whether the file that the dialogue names is not read yet.
func (it *item) nameless() bool { return it.file != "" && it.d.File == nil }

// plain reports whether the dialogue comes from a session that does not know of kept conversations, and is not delivered
// yet.
func (it *item) plain() bool { return plain(&it.d) }

func plain(d *kv.Dialogue) bool { return !d.Kept && !d.Live }

// expired reports whether the dialogue has waited for too long.
func (it *item) expired(now time.Time) bool { return !it.d.Live && !now.Before(it.expires) }

// itemSize is at least what a dialogue takes in a record besides id and payload.
const itemSize = 64

func newJob(c *conversation) *job {
	j := jobPool.Get().(*job)
	j.conv = c
	return j
}

func freeJob(j *job) {
	clear(j.items)
	clear(j.dialogues)
	data := j.data[:0]
	if cap(data) > maxPooled {
		data = nil
	}
	*j = job{items: j.items[:0], dialogues: j.dialogues[:0], data: data}
	jobPool.Put(j)
}

// conversation returns a conversation, and marks it as the most recently used one. The caller holds s.mu.
func (s *Service) conversation(p kv.Pair) *conversation {
	c := s.convs[p]
	if c == nil {
		c = &conversation{pair: p, subject: s.opts.Talks.Subject(p)}
		c.place = s.lru.PushFront(c)
		s.convs[p] = c
		s.evict()
	} else if s.lru.Front() != c.place {
		s.lru.MoveToFront(c.place)
	}
	return c
}

// evict forgets the least recently used conversations while there are too many of them. The caller holds s.mu.
func (s *Service) evict() {
	e := s.lru.Back()
	for range maxSkipped {
		if len(s.convs)-s.busy <= maxConversations && s.ids.Load() <= maxIDs || e == nil || e == s.lru.Front() {
			return
		}
		c := e.Value.(*conversation)
		e = e.Prev()
		if c.busy || c.plain > 0 {
			continue
		}
		s.ids.Add(-int64(c.idsLen))
		s.lru.Remove(c.place)
		delete(s.convs, c.pair)
	}
}

// push adds an item at the end of the queue. The caller holds s.mu.
func (s *Service) push(c *conversation, it *item) {
	if c.last == nil {
		c.first = it
	} else {
		c.last.next = it
	}
	c.last = it
	s.queued(c, it, 1)
}

// putBack adds items at the front of the queue. The caller holds s.mu.
func (s *Service) putBack(c *conversation, items []*item) {
	for _, it := range slices.Backward(items) {
		it.next = c.first
		if c.first = it; c.last == nil {
			c.last = it
		}
		s.queued(c, it, 1)
	}
}

// pop takes the first item. The caller holds s.mu.
func (s *Service) pop(c *conversation) *item {
	it := c.first
	if c.first = it.next; c.first == nil {
		c.last = nil
	}
	it.next = nil
	s.queued(c, it, -1)
	return it
}

func (s *Service) queued(c *conversation, it *item, by int) {
	c.count += by
	s.count += by
	c.bytes += by * it.size()
	s.bytes += by * it.size()
	if it.plain() {
		c.plainQueued += by
		s.plain += by
	}
}

// drop takes the unwanted items from the queue, and returns a job with the outcome reason for them, or nil. It leaves an
// item that a worker looks at. The caller holds s.mu.
func (s *Service) drop(c *conversation, reason error, unwanted func(*item) bool) (j *job) {
	at := &c.first
	var last *item
	if c.attended && c.first != nil {
		at, last = &c.first.next, c.first
	}
	for it := *at; it != nil; it = *at {
		if !unwanted(it) {
			at, last = &it.next, it
			continue
		}
		*at, it.next = it.next, nil
		s.queued(c, it, -1)
		if j == nil {
			j = newJob(c)
			j.err = reason
		}
		j.items = append(j.items, it)
	}
	c.last = last
	return j
}

// adopt makes r, which was read, the newest record of the conversation. r is nil if the conversation has none, and
// base is then the largest number that it has used.
func (c *conversation) adopt(r *kv.Record, base uint64) {
	if r == nil {
		r = kv.EmptyRecord(c.pair, max(base, c.floor))
	}
	c.known = r.First
	c.advance(r)
}

// advance makes r the newest record of the conversation. It keeps of its dialogues what the next record depends on.
func (c *conversation) advance(r *kv.Record) {
	if n := len(r.Dialogues); n > 0 && r.Dialogues[n-1].At.After(c.at) {
		c.at = r.Dialogues[n-1].At
	}
	c.floor = max(c.floor, r.Last)
	head := *r
	head.Dialogues = nil
	for i := range r.Dialogues {
		if d := &r.Dialogues[i]; d.Changes() {
			head.Dialogues = append(head.Dialogues, kv.Dialogue{N: d.N, Edits: d.Edits, Deletes: d.Deletes})
		}
	}
	c.head = &head
}

// forget drops what is known of the newest record. The next dialogue reads it again, and of the ids only those of later
// records: after an outage all conversations would otherwise read all ids at once.
func (c *conversation) forget() {
	if c.head != nil {
		c.ids.truncate(c.head.Last)
		c.idsSeq = c.head.Seq
	}
	c.head, c.walk, c.known = nil, nil, 0
}

// reset drops all that was read.
func (c *conversation) reset() {
	c.floor = 0
	c.head, c.ids, c.idsSeq, c.walk, c.known = nil, nil, 0, nil, 0
}
