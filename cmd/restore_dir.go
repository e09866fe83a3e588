package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"imctl/embedded"
	"imctl/embedded/privatefile"
	"imctl/kv"
)

// A restore into a data directory without a running server has these steps:
//
//	restore/new/     stage the streams and files of the backup here, and sync them to disk
//	restore.json     write this marker: from now on the restore can only be completed
//	restore/old/     move the old streams here, and the staged streams and files to their final place
//
// Finally it removes the marker, then restore/. A folder restore/ without the marker can be removed.
const (
	storeFolder    = "jetstream"
	stagingFolder  = "restore"
	stagedFolder   = "new"
	replacedFolder = "old"
	swapMarker     = "restore.json"
)

// swapMark is the contents of the marker.
type swapMark struct {
	Started time.Time `json:"started"` // start of the restore
	Backup  time.Time `json:"backup"`  // time of the backup
}

// String describes the restore for messages.
func (m *swapMark) String() string {
	return fmt.Sprintf("started at %s, with the backup of %s", m.Started.Format(time.RFC3339), m.Backup.Format(time.RFC3339))
}

// intoDir restores into a data directory that this command has locked.
func (r *restorer) intoDir(ctx context.Context, dir *embedded.Dir) (err error) {
	mark := swapMark{Started: time.Now().UTC().Truncate(time.Second), Backup: r.manifest.Created}
	if err := os.RemoveAll(dir.Path(stagingFolder)); err != nil {
		return err
	}
	marked := false
	defer func() {
		if !marked {
			err = errors.Join(err, os.RemoveAll(dir.Path(stagingFolder)))
		}
	}()
	staged := dir.Path(stagingFolder, stagedFolder)
	server, err := r.stage(ctx, staged)
	if err != nil {
		return err
	}
	if err := server.close(ctx); err != nil {
		return err
	}
	if err := r.stageFiles(filepath.Join(staged, filesFolder)); err != nil {
		return err
	}
	r.progress.update("syncing the files to disk")
	if err := syncTree(dir.Path(stagingFolder)); err != nil {
		return err
	}
	r.env.stepDone("directory staged")
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	marked = true
	if err := writeMarker(dir, mark); err != nil {
		return err
	}
	return completeSwap(r.env, dir)
}

// stageFiles stages the files of the backup other than streams.
func (r *restorer) stageFiles(root string) error {
	return eachEntry(r.file, func(name string, data []byte) error {
		file, ok := strings.CutPrefix(name, filesFolder)
		if !ok {
			return nil
		}
		if !filepath.IsLocal(filepath.FromSlash(file)) {
			return errBackup
		}
		path := filepath.Join(root, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
		r.report.Files++
		return nil
	})
}

// writeMarker writes the marker atomically and syncs it to disk.
func writeMarker(dir *embedded.Dir, mark swapMark) error {
	body, err := json.Marshal(mark)
	if err != nil {
		return err
	}
	if err := privatefile.Write(dir.Path(swapMarker), append(body, '\n')); err != nil {
		return err
	}
	return syncDir(dir.Path())
}

// readMarker returns the marker of a data directory, or nil if there is none.
func readMarker(data string) (*swapMark, error) {
	body, err := os.ReadFile(filepath.Join(data, swapMarker))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var mark swapMark
	if err == nil {
		err = json.Unmarshal(body, &mark)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory: %s: %w", swapMarker, err)
	}
	return &mark, nil
}

// checkSwapped returns an error if a restore into the data directory has to be completed.
func checkSwapped(data string, c *Config) error {
	mark, err := readMarker(data)
	if err != nil || mark == nil {
		return err
	}
	return completeFailure(c, fmt.Errorf("%w: %s", kv.ErrRestoreUnfinished, mark))
}

// clearStaging removes the staging folder of a restore that is complete or was interrupted before the swap.
func clearStaging(dir *embedded.Dir) error { return os.RemoveAll(dir.Path(stagingFolder)) }

// completeSwap moves the staged streams and files to their final place. It continues an interrupted swap.
func completeSwap(env *Env, dir *embedded.Dir) error {
	staged, store := dir.Path(stagingFolder, stagedFolder), dir.Path(storeFolder)
	replaced := dir.Path(stagingFolder, replacedFolder)
	if _, err := os.Stat(filepath.Join(staged, storeFolder)); err == nil {
		if err := os.MkdirAll(replaced, 0o700); err != nil {
			return err
		}
		env.stepDone("marked")
		if err := dir.ForgetStreams(); err != nil { // the restored state names the restored streams
			return err
		}
		if err := os.Rename(store, filepath.Join(replaced, storeFolder)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		env.stepDone("streams aside")
		if err := os.Rename(filepath.Join(staged, storeFolder), store); err != nil {
			return err
		}
		env.stepDone("streams swapped")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := swapFiles(dir, filepath.Join(staged, filesFolder)); err != nil {
		return err
	}
	env.stepDone("files swapped")
	for _, path := range []string{replaced, staged, dir.Path(stagingFolder), dir.Path()} {
		if err := syncDir(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(dir.Path(swapMarker)); err != nil {
		return err
	}
	if err := syncDir(dir.Path()); err != nil {
		return err
	}
	env.stepDone("marker removed")
	return clearStaging(dir)
}

// swapFiles replaces files of the data directory with the staged files in root.
func swapFiles(dir *embedded.Dir, root string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(dir.Path(name)), 0o700); err != nil {
			return err
		}
		if err := os.Rename(path, dir.Path(name)); err != nil {
			return err
		}
		return syncDir(filepath.Dir(dir.Path(name)))
	})
}

// syncTree syncs files and directories to disk. The NATS server of a restore does not.
func syncTree(root string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return syncDir(path)
		case !e.Type().IsRegular():
			return nil
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// syncDir syncs the entries of a directory to disk. Windows does not support that.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
