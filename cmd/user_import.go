package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"imctl/embedded/privatefile"
)

// importReport counts the results of an import.
type importReport struct {
	Created     int `json:"created"`
	There       int `json:"there"` // accounts that already existed
	Friendships int `json:"friendships"`
	Requests    int `json:"requests"`
	Dialogues   int `json:"dialogues"`
	Missing     int `json:"missing"`           // friendships, requests and parts of conversations with a user who does not exist
	Wrong       int `json:"wrong"`             // invalid lines
	Skipped     int `json:"skipped,omitempty"` // parts of the input that imctl has no place for
}

// importOutput is the report in JSON.
type importOutput struct {
	importReport
	Kinds  map[string]int `json:"skipped_kinds,omitempty"`
	DryRun bool           `json:"dry_run,omitempty"`
}

// importOptions are the flags of the command.
type importOptions struct {
	output    outputFormat
	format    string
	host      string
	report    string
	force     bool
	dryRun    bool
	keepGoing bool
}

func newUserImport(env *Env) *cobra.Command {
	var o importOptions
	c := &cobra.Command{
		Use:   "import [FILE|DIRECTORY]",
		Short: "Import users from imctl or another server",
		Long: `Import users from FILE or standard input: accounts with profiles and password hashes, friendships, and
pending requests. The server may be running. Formats (docs/import.md has their fields):

  imctl, jsonl  one JSON object a line: the output of user export, or "account", "password_hash", "friends" …
  csv           the first row names the columns, such as account,password_hash,mail,friends
  mattermost    Mattermost's bulk format: users, and direct channels as friendships
  xep0227       XML of ejabberd, Prosody and other XMPP servers, or the DIRECTORY with their files

Passwords keep working: imctl verifies hashes by bcrypt, scrypt, PBKDF2, argon2 and SCRAM as they are, and
replaces each by argon2id at the user's first login. It hashes plain passwords. Hashes that cost too much to
verify, and unknown ones, are invalid lines.

Both ends of a friendship are made, after all users are in. Friendships and requests with a user who is
neither in the input nor on the server are counted as missing. Existing accounts and friendships are not
changed, so an interrupted import can be repeated.

Conversations are in the format of user export only. They keep the numbers of their dialogues. A conversation
that has dialogues on the server does not change. If the input has a conversation as both of its users see
it, the one without hidden dialogues is imported. The dialogues are kept for dialogues.keep from now on.

Accounts, names and aliases follow the rules of registration: an account that looks like another one,
or has invisible characters, is an invalid line.

An invalid line is reported on standard error and ends the import. With --keep-going, the other lines are
imported. Lines that were already imported stay imported. --dry-run checks all lines and writes nothing.
--report writes a line of JSON for each line, and for each friendship, that was not imported.`,
		Example: `  imctl user import people.jsonl
  imctl user import --dry-run people.csv
  imctl user import --keep-going --report refused.jsonl people.csv
  imctl user import /var/backups/ejabberd`,
		Args: maxArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return runImport(c, env, args, &o) },
	}
	mayCreate(c)
	f := c.Flags()
	f.StringVar(&o.format, "format", formatAuto, "format of the input: "+strings.Join(importFormats, ", "))
	f.StringVar(&o.host, "host", "", "XMPP `domain` whose users are imported (default: the first one of the input)")
	f.BoolVar(&o.dryRun, "dry-run", false, "check the input and print the report, but write nothing")
	f.BoolVar(&o.keepGoing, "keep-going", false, "continue after an invalid line")
	f.StringVar(&o.report, "report", "", "write what was not imported to this `file`, as JSON lines")
	f.BoolVar(&o.force, "force", false, "replace an existing report")
	o.output.addTo(f)
	addServerFlags(c)
	return c
}

func runImport(c *cobra.Command, env *Env, args []string, o *importOptions) (err error) {
	if !slices.Contains(importFormats, o.format) {
		return usageErrorf("--format %q is none of %s", o.format, strings.Join(importFormats, ", "))
	}
	source, closeSource, err := openImport(env, args, o.format)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeSource()) }()
	source.host = o.host
	var report *privatefile.File
	var details io.Writer
	if o.report != "" {
		if report, err = createPrivate(env.path(o.report), o.force); err != nil {
			return err
		}
		defer report.Discard()
		details = report
	}
	return withServer(c, env, func(ctx context.Context, s *adminConn) error {
		// The longest entry fits into a request to the server.
		source.most = s.Client.MaxRequest() * 3 / 4
		i := importer{client: s.Client, source: source, keepGoing: o.keepGoing || o.dryRun, details: details, progress: startProgress(env), errs: env.Err, step: env.stepDone}
		if o.dryRun {
			i.trial = newImportTrial()
		}
		err := i.run(ctx)
		i.progress.stop()
		if report != nil {
			err = errors.Join(err, report.Commit())
		}
		if err == nil || i.Wrong > 0 {
			err = errors.Join(i.write(env, o.output), err)
		}
		return err
	})
}

// write writes the counts of the import.
func (i *importer) write(env *Env, output outputFormat) error {
	if output.json() {
		return writeJSON(env.Out, importOutput{i.importReport, i.kinds, i.trial != nil})
	}
	skipped := strconv.Itoa(i.Skipped)
	if len(i.kinds) > 0 {
		var kinds []string
		for _, kind := range slices.Sorted(maps.Keys(i.kinds)) {
			kinds = append(kinds, fmt.Sprintf("%d %s", i.kinds[kind], kind))
		}
		skipped += " (" + strings.Join(kinds, ", ") + ")"
	}
	rows := [][]string{
		{"created", strconv.Itoa(i.Created)}, {"there", strconv.Itoa(i.There)}, {"friendships", strconv.Itoa(i.Friendships)},
		{"requests", strconv.Itoa(i.Requests)}, {"dialogues", strconv.Itoa(i.Dialogues)}, {"missing", strconv.Itoa(i.Missing)},
		{"skipped", skipped}, {"wrong", strconv.Itoa(i.Wrong)},
	}
	if i.trial != nil {
		rows = append(rows, []string{"dry run", "nothing was written"})
	}
	return writeFields(env.Out, rows)
}
