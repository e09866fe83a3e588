package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
	"imctl/kv"
)

// intoServer restores the streams of one or several running servers. It first restores the backup in a NATS server of
// its own, and then copies the records from there into the buckets that are not in use.
func (r *restorer) intoServer(ctx context.Context, s *adminConn) (err error) {
	temp, err := os.MkdirTemp("", "imctl-restore-*") // with mode 0700
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	staged, err := r.stage(ctx, temp)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, staged.close(ctx)) }()
	if err := r.adoptReplicas(ctx, s.nc); err != nil {
		return err
	}
	staging, err := kv.Stage(ctx, staged.nc, s.nc, storeOptions(r.config))
	if err != nil {
		return r.completeFailure(err)
	}
	kept := struct{ log, talks, files keptStream }{keptLog(r.config.NATS.Prefix), keptTalks(r.config.NATS.Prefix), keptFiles(r.config.NATS.Prefix)}
	committed := false
	defer func() {
		if committed {
			return
		}
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err = errors.Join(err, staging.Abandon(undo, kept.log.staged, kept.talks.staged, kept.files.staged))
	}()
	if err := r.stageKept(ctx, staged.nc, s.nc, kept.log); err != nil {
		return fmt.Errorf("stage the log: %w", err)
	}
	r.env.stepDone("log staged")
	if err := r.stageKept(ctx, staged.nc, s.nc, kept.talks); err != nil {
		return fmt.Errorf("stage the conversations: %w", err)
	}
	r.env.stepDone("conversations staged")
	if err := r.stageKept(ctx, staged.nc, s.nc, kept.files); err != nil {
		return fmt.Errorf("stage the files: %w", err)
	}
	r.env.stepDone("files staged")
	total := r.contents.Records
	if _, err := staging.Fill(ctx, func(records int) { r.progress.update("%d of %d records", records, total) }); err != nil {
		return err
	}
	r.env.stepDone("records staged")
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := staging.Commit(ctx, r.manifest.Created, kv.StagedStreams{Log: kept.log.staged, Talks: kept.talks.staged, Files: kept.files.staged}); err != nil {
		return err
	}
	committed = true
	r.env.stepDone("committed")
	// From here on the restore can only be completed, so an interrupt does not stop it.
	return completeInServer(context.WithoutCancel(ctx), r.env, s.nc, r.config, r.progress)
}

// completeFailure adds the command line that completes a restore to an ErrRestoreUnfinished.
func (r *restorer) completeFailure(err error) error {
	if errors.Is(err, kv.ErrRestoreUnfinished) {
		return completeFailure(r.config, err)
	}
	return err
}

// adoptReplicas sets how many replicas the restored streams have: as many as those of the running server, unless the
// configuration says it.
func (r *restorer) adoptReplicas(ctx context.Context, nc *nats.Conn) error {
	if r.config.NATS.Replicas != 0 {
		return nil
	}
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return err
	}
	name := subject.Prefix(r.config.NATS.Prefix).StateStream()
	return kv.Retry(ctx, func(ctx context.Context) error {
		s, err := js.Stream(ctx, name)
		if err != nil {
			return fmt.Errorf("stream %s: %w", name, err)
		}
		r.config.NATS.Replicas = s.CachedInfo().Config.Replicas
		return nil
	})
}
