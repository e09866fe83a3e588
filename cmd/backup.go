package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
	"imctl/kv"
)

// backupFolders and adminContextFile are the parts of a data directory, besides streams, that a backup includes.
var backupFolders = [...]string{"tls", "keys"}

const adminContextFile = "admin.json"

// backupReport lists the contents of a backup.
type backupReport struct {
	File    string         `json:"file"`
	Streams []backupStream `json:"streams"`
	Files   int            `json:"files"` // number of files from the data directory
}

type backupStream struct {
	Name     string `json:"name"`
	Messages uint64 `json:"messages"`
	Bytes    int64  `json:"bytes"` // size of the snapshot
}

func newBackup(env *Env) *cobra.Command {
	var output outputFormat
	force := false
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Back up all durable data to a file",
		Long: `Back up all durable data to FILE, or to standard output if FILE is -. The server may be running.

A backup contains the streams of users, tokens and friendships, the audit trail, and the log with the
entries that its consumers have not acknowledged. If the data directory is on this machine, it also
contains the administrator's credentials, the certificates and the keys.

The streams are captured one after the other, each at one point in time. The file has a checksum. It
contains secrets and is readable by its owner only. Use imctl restore to restore it.`,
		Example: `  imctl backup imctl-$(date +%F).tar
  imctl backup - | gpg --encrypt -r ops > imctl.tar.gpg`,
		Args: exactArgs("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			if args[0] == pipeName {
				return withNATS(c, env, func(ctx context.Context, nc *nats.Conn, config *Config) error {
					_, err := writeBackup(ctx, env, nc, config, env.Out)
					return err
				})
			}
			out, err := createPrivate(env.path(args[0]), force)
			if err != nil {
				return err
			}
			defer out.Discard()
			return withNATS(c, env, func(ctx context.Context, nc *nats.Conn, config *Config) error {
				report, err := writeBackup(ctx, env, nc, config, out)
				if err == nil {
					err = out.Commit()
				}
				if err != nil {
					return err
				}
				report.File = args[0]
				return writeBackupReport(env.Out, output, report)
			})
		},
	}
	c.Flags().BoolVar(&force, "force", false, "replace an existing file")
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func writeBackupReport(w io.Writer, output outputFormat, r backupReport) error {
	if output.json() {
		return writeJSON(w, r)
	}
	rows := make([][]string, len(r.Streams))
	for i, s := range r.Streams {
		rows[i] = []string{s.Name, fmt.Sprint(s.Messages), fmt.Sprint(s.Bytes)}
	}
	return newTable(w, "stream", "messages", "bytes").write(rows...)
}

// writeBackup writes a backup to out, and its progress to standard error.
func writeBackup(ctx context.Context, env *Env, nc *nats.Conn, config *Config, out io.Writer) (backupReport, error) {
	b := backup{progress: startProgress(env), nc: nc, config: config}
	defer b.progress.stop()
	err := b.write(ctx, out)
	return b.report, err
}

// backup is a backup in progress.
type backup struct {
	progress *progressLine
	nc       *nats.Conn
	config   *Config
	report   backupReport
	tar      *backupWriter
}

func (b *backup) write(ctx context.Context, out io.Writer) error {
	before, _, err := readState(ctx, b.nc, b.config.NATS.Prefix)
	if err != nil {
		return err
	}
	if before.Restore != nil {
		return completeFailure(b.config, fmt.Errorf("%w: %s", kv.ErrRestoreUnfinished, before.Restore))
	}
	names, err := b.streams(ctx)
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	b.tar = newBackupWriter(out, now)
	err = b.tar.addJSON(manifestEntry, manifest{Format: backupFormat, Created: now, Version: readBuildInfo().Version, Prefix: b.config.NATS.Prefix, Streams: names})
	if err == nil && b.config.NATS.Embedded() {
		err = b.addFiles()
	}
	for _, name := range names {
		if err == nil {
			err = b.addStream(ctx, name)
		}
	}
	if err == nil {
		err = b.checkUnchanged(ctx, before)
	}
	if err == nil {
		err = b.tar.close()
	}
	return err
}

// checkUnchanged returns an error if a restore has replaced the streams since before. Such a backup would mix old and
// new streams.
func (b *backup) checkUnchanged(ctx context.Context, before kv.State) error {
	now, _, err := readState(ctx, b.nc, b.config.NATS.Prefix)
	if err == nil && (now.Restore != nil || now.Slot != before.Slot) {
		err = errors.New("a restore replaced the streams during the backup; run the backup again")
	}
	return err
}

// streams returns the names of the existing streams. The stream of the log does not exist before the first start of a
// server. The stream of files is left out while it is empty: versions that know of no files can then restore the
// backup.
func (b *backup) streams(ctx context.Context) ([]string, error) {
	js, err := natsutil.JetStream(b.nc)
	if err != nil {
		return nil, err
	}
	infos, err := readStreams(ctx, js, b.config.NATS.Prefix)
	if err != nil {
		return nil, err
	}
	files := subject.Prefix(b.config.NATS.Prefix).FileStream()
	var names []string
	for _, i := range infos {
		if i.State != "missing" && (i.Messages > 0 || i.Name != files) {
			names = append(names, i.Name)
		}
	}
	if len(names) == 0 {
		return nil, &failure{code: exitNotFound, err: fmt.Errorf("no streams with nats.prefix %s", b.config.NATS.Prefix)}
	}
	return names, nil
}

// addStream adds a snapshot of a stream.
func (b *backup) addStream(ctx context.Context, name string) error {
	folder := streamsFolder + name + "/"
	report := backupStream{Name: name}
	pieces := 0
	err := takeSnapshot(ctx, b.nc, name, func(s streamSnapshot) error {
		state, err := s.state()
		if err != nil {
			return err
		}
		report.Messages = state.Messages
		return b.tar.addJSON(folder+streamEntry, s)
	}, func(piece []byte) error {
		pieces++
		report.Bytes += int64(len(piece))
		b.progress.update("%s: %s", name, Size(report.Bytes))
		return b.tar.add(fmt.Sprintf("%s%08d", folder, pieces), piece)
	})
	if err != nil {
		return fmt.Errorf("stream %s: %w", name, err)
	}
	b.report.Streams = append(b.report.Streams, report)
	return nil
}

// addFiles adds the files of the data directory other than streams, if the directory is on this machine.
func (b *backup) addFiles() error {
	data := b.config.Data
	add := func(file string) error {
		content, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(data, file)
		if err != nil {
			return err
		}
		b.report.Files++
		return b.tar.add(path.Join(filesFolder, filepath.ToSlash(name)), content)
	}
	if err := add(filepath.Join(data, adminContextFile)); err != nil {
		return err
	}
	for _, folder := range backupFolders {
		err := filepath.WalkDir(filepath.Join(data, folder), func(file string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			return add(file)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
