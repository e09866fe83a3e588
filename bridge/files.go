package bridge

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imctl/kv"
)

const (
	// tidyEvery is the interval of the sweeps of files, and tidyWait bounds one of them.
	tidyEvery = 10 * time.Minute
	tidyWait  = 5 * time.Minute
)

// fileGauges are the metrics of files. They are those of the last sweep.
type fileGauges struct {
	files, bytes atomic.Int64
	removed      prometheus.Counter
}

func newFileGauges(r prometheus.Registerer, most int64) *fileGauges {
	g := &fileGauges{removed: prometheus.NewCounter(prometheus.CounterOpts{Name: "imctl_files_removed_total",
		Help: "Files that no dialogue named within an hour, and uploads that were interrupted, that this node has removed."})}
	gauge := func(name, help string, value func() int64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) }))
	}
	r.MustRegister(g.removed)
	gauge("imctl_files", "Files that are kept, at the last sweep.", g.files.Load)
	gauge("imctl_files_bytes", "Size of all files, at the last sweep.", g.bytes.Load)
	gauge("imctl_files_max_bytes", "Size from which on no more files are taken, -1 for none.", func() int64 { return most })
	return g
}

// tendFiles removes files that no dialogue names, and what interrupted uploads have left, until ctx ends.
func (b *Bridge) tendFiles(ctx context.Context, files *kv.Files, g *fileGauges) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		if b.serving() {
			err := b.gate.Pass(func() error { return b.tidyFiles(ctx, files, g) })
			if err != nil && ctx.Err() == nil {
				b.log.Warn("look after the files; the next sweep does", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *Bridge) tidyFiles(ctx context.Context, files *kv.Files, g *fileGauges) error {
	ctx, cancel := context.WithTimeout(ctx, tidyWait)
	defer cancel()
	bytes, err := files.Bytes(ctx)
	if err != nil {
		return err
	}
	g.bytes.Store(bytes)
	if bytes == 0 {
		g.files.Store(0)
		return nil
	}
	done, err := files.Tidy(ctx, b.opts.Store.Talks, time.Now())
	g.removed.Add(float64(done.Removed))
	if done.Removed > 0 {
		b.log.Info("files that no dialogue names are removed", "files", done.Removed)
	}
	if err == nil {
		g.files.Store(int64(done.Files))
	}
	return err
}
