package talk

// Reset forgets everything that was read from the streams, after a restore has replaced them. It refuses the dialogues
// that wait. Cursors that are not written are lost: they belong to the data before.
func (s *Service) Reset() {
	s.Abort()
	s.mu.Lock()
	for pair, c := range s.convs {
		if c.busy {
			c.stale = true // its owner forgets what it has read
			continue
		}
		s.ids.Add(-int64(c.idsLen))
		s.lru.Remove(c.place)
		delete(s.convs, pair)
	}
	s.mu.Unlock()
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
