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
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"imctl/kv"
)

// backupFolders and the file admin.json are what a data directory has besides streams.
var backupFolders = [...]string{"tls", "keys"}

const adminContextFile = "admin.json"

// backupReport is what a backup has.
type backupReport struct {
	File    string         `json:"file"`
	Streams []backupStream `json:"streams"`
	Files   int            `json:"files"` // of the data directory
}

type backupStream struct {
	Name     string `json:"name"`
	Messages uint64 `json:"messages"`
	Bytes    int64  `json:"bytes"` // of the snapshot
}

func newBackup(env *Env) *cobra.Command {
	var output outputFormat
	force := false
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Back up all durable data into one file",
		Long: `Write all durable data to FILE, or to standard output for -: the streams of users, tokens and
friendships, the log with the entries that its consumers have not acknowledged, and from the data
directory, if it is on this machine, the administrator's credentials, certificates and keys. The server
may be running. It may also be a NATS server that imctl is attached to.

Each stream is captured at one moment, one stream after the other. The file has a checksum and holds
secrets: only its owner can read it. Use imctl restore to restore it.`,
		Example: `  imctl backup imctl-$(date +%F).tar
  imctl backup - | gpg --encrypt -r ops > imctl.tar.gpg`,
		Args: wants("FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			if args[0] == pipeName {
				return withNATS(c, env, func(ctx context.Context, nc *nats.Conn, config *Config) error {
					b := backup{progress: startProgress(env), nc: nc, config: config}
					err := b.write(ctx, env.Out)
					b.progress.stop()
					return err
				})
			}
			out, err := createPrivate(env.path(args[0]), force)
			if err != nil {
				return err
			}
			defer out.Discard()
			return withNATS(c, env, func(ctx context.Context, nc *nats.Conn, config *Config) error {
				b := backup{progress: startProgress(env), nc: nc, config: config}
				err := b.write(ctx, out)
				b.progress.stop()
				if err == nil {
					err = out.Commit()
				}
				if err != nil {
					return err
				}
				b.report.File = args[0]
				return writeBackupReport(env.Out, output, b.report)
			})
		},
	}
	c.Flags().BoolVar(&force, "force", false, "replace the file if it is there")
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

// backup is a backup under way.
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
		return unfinished(b.config, fmt.Errorf("%w: %s", kv.ErrRestoreUnfinished, before.Restore))
	}
	names, err := b.streams(ctx)
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	b.tar = newBackupWriter(out, now)
	err = b.tar.addJSON(manifestEntry, manifest{Format: backupFormat, Created: now, Version: readBuildInfo().Version, Prefix: b.config.NATS.Prefix, Streams: names})
	if err == nil && b.config.NATS.Embedded() {
		err = b.files()
	}
	for _, name := range names {
		if err == nil {
			err = b.stream(ctx, name)
		}
	}
	if err == nil {
		err = b.same(ctx, before)
	}
	if err == nil {
		err = b.tar.close()
	}
	return err
}

// same returns an error if a restore has replaced the streams since before. The backup would mix old and new streams.
func (b *backup) same(ctx context.Context, before kv.State) error {
	now, _, err := readState(ctx, b.nc, b.config.NATS.Prefix)
	if err == nil && (now.Restore != nil || now.Slot != before.Slot) {
		err = errors.New("a restore replaced the streams meanwhile; run the backup again")
	}
	return err
}

// streams returns the names of the existing streams. Before the first start of a server there is no log.
func (b *backup) streams(ctx context.Context) ([]string, error) {
	js, err := jetstream.New(b.nc)
	if err != nil {
		return nil, err
	}
	infos, err := askStreams(ctx, js, b.config.NATS.Prefix)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, i := range infos {
		if i.State != "missing" {
			names = append(names, i.Name)
		}
	}
	if len(names) == 0 {
		return nil, &failure{code: exitNotFound, err: fmt.Errorf("there are no streams of prefix %s", b.config.NATS.Prefix)}
	}
	return names, nil
}

func (b *backup) stream(ctx context.Context, name string) error {
	folder := streamsFolder + name + "/"
	done := backupStream{Name: name}
	pieces := 0
	err := takeSnapshot(ctx, b.nc, name, func(s streamSnapshot) error {
		state, err := s.state()
		if err != nil {
			return err
		}
		done.Messages = state.Messages
		return b.tar.addJSON(folder+streamEntry, s)
	}, func(piece []byte) error {
		pieces++
		done.Bytes += int64(len(piece))
		b.progress.say("%s: %s", name, Size(done.Bytes))
		return b.tar.add(fmt.Sprintf("%s%08d", folder, pieces), piece)
	})
	if err != nil {
		return fmt.Errorf("stream %s: %w", name, err)
	}
	b.report.Streams = append(b.report.Streams, done)
	return nil
}

// files adds what the data directory has besides streams, if it is on this machine.
func (b *backup) files() error {
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
