package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natsutil"
)

// A snapshot of a bucket ends at the last message of the time at which it began. A record that is written again before
// the snapshot has reached it is then missing: NATS has dropped the old message, and the new one is after the end. So a
// backup has the tail of a bucket: the messages after its snapshot, up to an end at which no more have come. It is read
// in order, so each record is in the snapshot or in the tail.
const (
	// tailFolder has the tails: tail/NAME/00000001 and so on, with a tailMessage in each line. Older versions, which
	// ignore it, restore the snapshots alone.
	tailFolder = "tail/"

	tailEntry = 1 << 20 // bytes of one entry, about
	// tailWait bounds the reading of a tail, for buckets that are written faster than they are read.
	tailWait = 5 * time.Minute
)

// tailMessage is a message after the end of a snapshot.
type tailMessage struct {
	Subject string      `json:"subject"`
	Header  nats.Header `json:"header,omitempty"`
	Data    []byte      `json:"data"`
	Time    time.Time   `json:"time"`
}

// addTail adds the messages of a stream after sequence last.
func (b *backup) addTail(ctx context.Context, name string, last uint64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, tailWait, errors.New("records change faster than they are read"))
	defer cancel()
	js, err := natsutil.JetStream(b.nc)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return err
	}
	var lines bytes.Buffer
	entries := 0
	flush := func() error {
		if lines.Len() == 0 {
			return nil
		}
		entries++
		err := b.tar.add(fmt.Sprintf("%s%s/%08d", tailFolder, name, entries), bytes.Clone(lines.Bytes()))
		lines.Reset()
		return err
	}
	for {
		info, err := stream.Info(ctx)
		if err != nil {
			return err
		}
		if info.State.LastSeq <= last {
			return flush()
		}
		for last < info.State.LastSeq {
			var m *tailMessage
			if m, last, err = nextMessage(ctx, b.nc, name, last+1); err != nil {
				return err
			}
			if m == nil { // the messages up to there were removed
				last = info.State.LastSeq
				break
			}
			if err := writeJSON(&lines, m); err != nil {
				return err
			}
			if lines.Len() < tailEntry {
				continue
			}
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

// nextMessage returns the first message of a stream from a sequence on, and its own sequence. It asks the leader of the
// stream, since other replicas may not have it yet. It returns nil if there is none.
func nextMessage(ctx context.Context, nc *nats.Conn, stream string, from uint64) (*tailMessage, uint64, error) {
	var answer struct {
		Message struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	err := askJetStream(ctx, nc, "STREAM.MSG.GET."+stream, map[string]any{"seq": from, "next_by_subj": ">"}, &answer)
	var refused *jetstream.APIError
	if errors.As(err, &refused) && refused.ErrorCode == jetstream.JSErrCodeMessageNotFound {
		return nil, from, nil
	}
	if err != nil {
		return nil, from, err
	}
	got := answer.Message
	m := tailMessage{Subject: got.Subject, Data: got.Data, Time: got.Time}
	if len(got.Header) > 0 {
		if m.Header, err = nats.DecodeHeadersMsg(got.Header); err != nil {
			return nil, from, err
		}
	}
	return &m, got.Sequence, nil
}

// restoreTails writes the tails of a backup to the restored streams.
func (r *restorer) restoreTails(ctx context.Context, nc *nats.Conn) error {
	return eachEntry(r.file, func(name string, data []byte) error {
		stream, _, ok := strings.Cut(strings.TrimPrefix(name, tailFolder), "/")
		if !ok || !strings.HasPrefix(name, tailFolder) {
			return nil
		}
		if err := restoreTail(ctx, nc, stream, data); err != nil {
			return fmt.Errorf("stream %s: %w", stream, err)
		}
		return nil
	})
}

// restoreTail writes one entry of the tail of a stream.
func restoreTail(ctx context.Context, nc *nats.Conn, stream string, data []byte) error {
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return err
	}
	for lines := json.NewDecoder(bytes.NewReader(data)); ; {
		var m tailMessage
		if err := lines.Decode(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return errBackup
		}
		header, expired := tailHeader(m)
		if expired {
			continue
		}
		_, err := js.PublishMsg(ctx, &nats.Msg{Subject: m.Subject, Header: header, Data: m.Data}, jetstream.WithExpectStream(stream))
		if err != nil {
			return err
		}
	}
}

// tailHeader returns the headers to write a message again: without those that NATS obeys when it stores a message, and
// with the time to live that is left. skip is true for a message that has expired, and for the marker that NATS has
// written in its place: the older message of that record has expired too.
func tailHeader(m tailMessage) (h nats.Header, skip bool) {
	h = nats.Header{}
	for name, values := range m.Header {
		if !strings.HasPrefix(name, "Nats-") {
			h[name] = values
		}
	}
	if m.Header.Get(jetstream.MarkerReasonHeader) != "" {
		return h, true
	}
	ttl, err := time.ParseDuration(m.Header.Get(jetstream.MsgTTLHeader))
	if err != nil { // no time to live, or that of the stream
		return h, false
	}
	left := (ttl - time.Since(m.Time)).Truncate(time.Second)
	h.Set(jetstream.MsgTTLHeader, max(left, time.Second).String())
	return h, left <= 0
}
