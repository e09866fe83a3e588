package talk

// Reset forgets everything that was read from the streams, after a restore has replaced them. It refuses the dialogues
// that wait. Cursors that are not written are lost: they belong to the data before.
func (s *Service) Reset() {
	var jobs []*job
	s.Abort()
	s.mu.Lock()
	s.late = lateQueue{}
	for pair, c := range s.convs {
		if c.busy {
			c.stale = true // its owner forgets what it has read
			if j := s.drop(c, errReset, func(*item) bool { return true }); j != nil {
				jobs = append(jobs, j)
			}
			continue
		}
		if c.plain > 0 { // not all of its dialogues are answered yet
			c.reset()
			s.ids.Add(-int64(c.idsLen))
			c.idsLen = 0
			continue
		}
		s.ids.Add(-int64(c.idsLen))
		s.lru.Remove(c.place)
		delete(s.convs, pair)
	}
	s.mu.Unlock()
	s.settle(jobs)
	s.tracker.reset()
}

// reset forgets all cursors in memory.
func (t *tracker) reset() {
	for i := range t.shards {
		h := &t.shards[i]
		h.mu.Lock()
		h.docs, h.dirty = make(map[string]*doc), nil
		h.mu.Unlock()
	}
}
