package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
	"imctl/bridge/talk"
	"imctl/kv"
)

// watchRetention warns before the stream of conversations drops dialogues that are not old enough, and serves metrics of
// it.
func (a *App) watchRetention() error {
	if a.config.Dialogues.Keep == 0 {
		return nil
	}
	nc, err := a.backend.connect("imctl retention")
	if err != nil {
		return err
	}
	a.stops.add("connection of the retention", func(context.Context) error { nc.Close(); return nil })
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return err
	}
	r := talk.NewRetention(talk.RetentionOptions{JetStream: js, Stream: subject.Prefix(a.config.NATS.Prefix).TalkStream(), Registry: a.registry, Log: a.log})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	a.stops.add("retention", func(context.Context) error { cancel(); <-done; return nil })
	return nil
}

// talksInfo is how much of its limits the stream of conversations uses.
type talksInfo struct {
	Records  uint64     `json:"records"` // a record has one or more dialogues
	Bytes    uint64     `json:"bytes"`
	MaxBytes int64      `json:"max_bytes"` // -1: no limit
	Percent  int        `json:"percent"`   // of max_bytes
	Oldest   *time.Time `json:"oldest"`    // of the oldest record
	// Dropping is true if the oldest dialogues are dropped before dialogues.keep, since max_bytes is reached.
	Dropping bool `json:"dropping"`
}

// readTalks returns how much the conversations use, or nil if none are kept.
func readTalks(ctx context.Context, js jetstream.JetStream, prefix string) (*talksInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	s, err := js.Stream(ctx, subject.Prefix(prefix).TalkStream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := talk.FillOf(s.CachedInfo())
	i := &talksInfo{Records: f.Messages, Bytes: f.Bytes, MaxBytes: f.MaxBytes, Percent: f.Percent(), Dropping: f.Dropping(time.Now())}
	if !f.Oldest.IsZero() {
		i.Oldest = &f.Oldest
	}
	return i, nil
}

// String returns the line of imctl status.
func (i *talksInfo) String() string {
	text := plural(int(i.Records), "record") + ", " + fmt.Sprint(i.Bytes) + " bytes"
	if i.MaxBytes > 0 {
		text += fmt.Sprintf(", %d %% of %s", i.Percent, Size(i.MaxBytes))
	}
	if i.Oldest != nil {
		text += ", oldest " + localTime(*i.Oldest)
	}
	if i.Dropping {
		text += "; the oldest are dropped before dialogues.keep: raise dialogues.max_bytes"
	}
	return text
}

// talksOptions returns the options of the stream of conversations, nil if none are kept.
func talksOptions(c *Config) *kv.TalksOptions {
	if c.Dialogues.Keep == 0 {
		return nil
	}
	return &kv.TalksOptions{MaxAge: c.Dialogues.Keep, MaxBytes: int64(c.Dialogues.MaxBytes)}
}

// filesOptions returns the options of the stream of files, nil if no files are taken.
func filesOptions(c *Config) *kv.FilesOptions {
	if c.Dialogues.Keep == 0 || c.Files.MaxSize == 0 {
		return nil
	}
	return &kv.FilesOptions{MaxAge: c.Dialogues.Keep, MaxBytes: int64(c.Files.MaxBytes)}
}

// readFiles counts the files, or returns nil if none are kept.
func readFiles(ctx context.Context, nc *nats.Conn, prefix string) (*kv.FileStats, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	files, err := kv.OpenFiles(ctx, nc, prefix)
	if err != nil || files == nil {
		return nil, err
	}
	stats, err := files.Stats(ctx)
	return &stats, err
}

// filesText returns the line of imctl status.
func filesText(s kv.FileStats) string {
	text := plural(s.Files, "file") + ", " + fmt.Sprint(s.Bytes) + " bytes"
	if s.MaxBytes > 0 {
		text += " of " + Size(s.MaxBytes).String()
	}
	return text
}

// talksPart is the part of the free disk space that the conversations may fill, in percent.
const talksPart = 80

// fitTalks lowers the size limit of the conversations to what the disk of the embedded server has room for, and logs
// that. The limit is never lower than their present size.
func (b *backend) fitTalks(ctx context.Context, c *Config, log *slog.Logger) (*kv.TalksOptions, error) {
	o := talksOptions(c)
	if o == nil || b.server == nil {
		return o, nil
	}
	js, err := natsutil.JetStream(b.nc)
	if err != nil {
		return nil, err
	}
	used := uint64(0)
	err = kv.Retry(ctx, func(ctx context.Context) error {
		s, err := js.Stream(ctx, subject.Prefix(c.NATS.Prefix).TalkStream())
		if err == nil {
			used = s.CachedInfo().State.Bytes
		}
		return err
	})
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("stream of conversations: %w", err)
	}
	free := b.server.Disk().State().FreeBytes
	if room := int64(used + free/100*talksPart); room < o.MaxBytes {
		room = (room/int64(MiB) + 1) * int64(MiB) // a whole number, as it is shown
		log.Warn("the disk has no room for dialogues.max_bytes, so fewer conversations are kept: lower the setting, or free disk space",
			"max_bytes", o.MaxBytes, "lowered_to", room, "free_bytes", free)
		o.MaxBytes = room
	}
	return o, nil
}
