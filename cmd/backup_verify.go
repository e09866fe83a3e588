package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"imctl/embedded"
)

// verifyBackup reads a whole backup: its checksum, and the checksum of each message in its snapshots. It needs little
// memory, and writes nothing. pace may be nil. The verification ends with ctx.
func verifyBackup(ctx context.Context, r io.ReadSeeker, pace *backupPace) (manifest, backupReport, error) {
	v := verifier{ctx: ctx, pace: pace}
	m, err := checkBackup(r, v.visit)
	if endErr := v.end(); err == nil {
		err = endErr
	}
	if err != nil {
		return m, v.report, err
	}
	names := make([]string, len(v.report.Streams))
	for i, s := range v.report.Streams {
		names[i] = s.Name
	}
	if !slices.Equal(names, m.Streams) {
		return m, v.report, fmt.Errorf("%w: it does not have the streams that it lists", errBackup)
	}
	v.report.Accounts = m.Accounts
	return m, v.report, nil
}

// verifier checks the entries of a backup, one after the other.
type verifier struct {
	ctx    context.Context
	pace   *backupPace
	raw    rawSize // of the present stream
	report backupReport
	pieces *io.PipeWriter // of the present stream; nil before the first one
	done   chan error     // receives the outcome of its check
}

func (v *verifier) visit(name string, data []byte) error {
	if strings.HasPrefix(name, filesFolder) {
		v.report.Files++
		return v.pace.wait(v.ctx, len(data), 0)
	}
	stream, file, ok := strings.Cut(strings.TrimPrefix(name, streamsFolder), "/")
	if !ok || !strings.HasPrefix(name, streamsFolder) {
		return v.pace.wait(v.ctx, len(data), 0)
	}
	if file == streamEntry {
		if err := v.end(); err != nil {
			return err
		}
		return v.begin(stream, data)
	}
	if v.pieces == nil || stream != v.stream().Name {
		return errBackup
	}
	v.stream().Bytes += int64(len(data))
	if err := v.pace.wait(v.ctx, len(data), v.raw.add(data)); err != nil {
		return err
	}
	_, err := v.pieces.Write(data)
	return err
}

func (v *verifier) stream() *backupStream { return &v.report.Streams[len(v.report.Streams)-1] }

// begin starts the check of a stream.
func (v *verifier) begin(name string, description []byte) error {
	var s streamSnapshot
	if json.Unmarshal(description, &s) != nil {
		return errBackup
	}
	state, err := s.state()
	if err != nil {
		return err
	}
	v.report.Streams = append(v.report.Streams, backupStream{Name: name, Messages: state.Messages})
	r, w := io.Pipe()
	v.pieces, v.done, v.raw = w, make(chan error, 1), rawSize{}
	go func() {
		err := embedded.CheckSnapshot(name, r)
		if err != nil {
			err = fmt.Errorf("stream %s: %w", name, err)
		}
		r.CloseWithError(err) // the next write returns it
		v.done <- err
	}()
	return nil
}

// end waits for the check of the present stream, if there is one.
func (v *verifier) end() error {
	if v.pieces == nil {
		return nil
	}
	v.pieces.Close()
	v.pieces = nil
	return <-v.done
}
