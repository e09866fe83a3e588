package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/subject"
)

const (
	// pruneEvery is the interval at which acknowledged entries are removed, if the log was written.
	pruneEvery = time.Second
	// pruneShare is the part of MaxBytes after which acknowledged entries are removed at once.
	pruneShare = 8
	// pruneWait bounds one removal.
	pruneWait = 10 * time.Second
)

// kinds are the first words of the entries' subjects.
var kinds = []string{"dialogue", "user", "friend", "report", "session", kindPresence, subject.OfflineKind}

// prune removes acknowledged entries at intervals until ctx ends.
//
// A stream with interest retention removes each entry by itself, as soon as all consumers have acknowledged it. It
// writes one record to the disk for each, and syncs it where NATS syncs every write: that took more than the rest of the
// log, and held the writer up. A purge removes any number of entries at once.
func (l *Log) prune(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.full:
		}
		if l.paused.Load() || l.unpruned.Load() == 0 {
			continue
		}
		err := l.Prune(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			l.opts.Log.Warn("remove acknowledged entries of the event log", "err", err)
		}
		failing = err != nil
	}
}

// stored notes that bytes were added to the stream.
func (l *Log) stored(bytes int64) {
	l.unpruned.Add(bytes)
	limit := l.opts.MaxBytes / pruneShare
	if fresh := l.fresh.Add(bytes); fresh >= limit && fresh-bytes < limit {
		select {
		case l.full <- struct{}{}:
		default:
		}
	}
}

// Prune removes the entries that no consumer needs any more. Of each kind of event it removes the entries
// before the first entry that a consumer of that kind has not acknowledged.
func (l *Log) Prune(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pruneWait)
	defer cancel()
	l.pruning.Lock()
	defer l.pruning.Unlock()
	l.fresh.Store(0)
	written := l.unpruned.Load()
	s, err := l.js.Stream(ctx, l.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil // the next count creates it
	}
	if err != nil {
		return err
	}
	info := s.CachedInfo()
	if info.Config.Retention != jetstream.LimitsPolicy {
		l.unpruned.Store(0) // NATS removes the entries
		return nil
	}
	if info.State.Msgs == 0 {
		l.unpruned.Add(-written)
		return nil
	}
	done, err := l.acknowledged(ctx, s, info.State.LastSeq)
	if err != nil {
		return err
	}
	lowest := info.State.LastSeq
	for _, seq := range done {
		lowest = min(lowest, seq)
	}
	if lowest >= info.State.FirstSeq {
		if err := s.Purge(ctx, jetstream.WithPurgeSequence(lowest+1)); err != nil {
			return fmt.Errorf("purge up to %d: %w", lowest, err)
		}
	}
	for i, kind := range kinds {
		if seq := done[i]; seq > lowest && seq > l.pruned[i] {
			if err := s.Purge(ctx, jetstream.WithPurgeSubject(l.names.Log(kind, ">")), jetstream.WithPurgeSequence(seq+1)); err != nil {
				return fmt.Errorf("purge %s up to %d: %w", kind, seq, err)
			}
			l.pruned[i] = seq
		}
	}
	if lowest == info.State.LastSeq {
		l.unpruned.Add(-written)
	}
	return nil
}

// acknowledged returns for each kind the sequence up to which all consumers of that kind have acknowledged its entries.
// last is the stream's last sequence before the consumers were asked.
func (l *Log) acknowledged(ctx context.Context, s jetstream.Stream, last uint64) ([]uint64, error) {
	done := make([]uint64, len(kinds))
	for i := range done {
		done[i] = last
	}
	list := s.ListConsumers(ctx)
	for c := range list.Info() {
		seq := acknowledgedBy(c, last)
		for i, kind := range kinds {
			if takes(l.names, c.Config, kind) {
				done[i] = min(done[i], seq)
			}
		}
	}
	return done, list.Err()
}

// acknowledgedBy returns the sequence up to which a consumer needs no entry any more.
func acknowledgedBy(c *jetstream.ConsumerInfo, last uint64) uint64 {
	switch {
	case c.NumAckPending > 0:
		return min(c.AckFloor.Stream, last)
	case c.NumPending > 0:
		return min(max(c.AckFloor.Stream, c.Delivered.Stream), last)
	}
	return last // the consumer has acknowledged all entries that match its filter
}

// takes reports whether a consumer may take entries of a kind.
func takes(names subject.Prefix, c jetstream.ConsumerConfig, kind string) bool {
	filters := c.FilterSubjects
	if c.FilterSubject != "" {
		filters = append(filters, c.FilterSubject)
	}
	prefix := names.Log("")
	for _, f := range filters {
		rest, ok := strings.CutPrefix(f, prefix)
		word, _, _ := strings.Cut(rest, ".")
		if !ok || word == kind || word == "*" || word == ">" {
			return true
		}
	}
	return len(filters) == 0
}
