package bridge

import (
	"context"
	"time"

	"imctl/bridge/hook"
	"imctl/bridge/subject"
)

// moderatorsEvery is the interval at which a node reads which moderators are attached. Commands tell of changes at
// once; the interval bounds how long one counts that a restore, or a node that ended, told to no node.
const moderatorsEvery = 10 * time.Second

// openHooks starts to ask moderators, of which none is known yet.
func (b *Bridge) openHooks() (err error) {
	opts := b.opts.Hooks
	opts.Prefix, opts.MaxFrame = subject.Prefix(b.opts.Prefix), int(b.opts.Sessions.MaxFrame)
	opts.Registry, opts.Log = b.opts.Registry, b.log
	if b.hooks, err = hook.Open(b.nc, opts); err != nil {
		return err
	}
	b.stops.add(func(context.Context) error { b.hooks.Close(); return nil })
	return nil
}

func (b *Bridge) reloadModerators(ctx context.Context) error {
	names, err := b.services.Attachments.Moderators(ctx)
	if err == nil {
		b.hooks.SetModerators(names)
	}
	return err
}

// tendModerators reads at intervals which moderators are attached, until ctx ends.
func (b *Bridge) tendModerators(ctx context.Context) {
	ticker := time.NewTicker(moderatorsEvery)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !b.serving() {
			continue
		}
		err := b.gate.Pass(func() error { return b.reloadModerators(ctx) })
		if err != nil && !failing && ctx.Err() == nil {
			b.log.Warn("read the moderators", "err", err)
		}
		failing = err != nil
	}
}
