package cmd

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"imctl/bridge/admin"
	"imctl/cmd/bench"
	"imctl/kv"
)

// checkRange returns a usage error if the value of a flag is out of range.
func checkRange(flag string, value, least, most int) error {
	if value < least || value > most {
		return usageErrorf("--%s must be from %d to %d", flag, least, most)
	}
	return nil
}

// checkEven returns a usage error if the value of a flag is odd.
func checkEven(flag string, value int) error {
	if value%2 != 0 {
		return usageErrorf("--%s must be even", flag)
	}
	return nil
}

// checkDuration returns a usage error if the duration of a flag is out of range.
func checkDuration(flag string, value time.Duration) error {
	if value < 100*time.Millisecond || value > 24*time.Hour {
		return usageErrorf("--%s must be from 100ms to 24h", flag)
	}
	return nil
}

// addDialogueFlags adds the flags for pairs of users who send dialogues. Their defaults are pairs and rate.
func addDialogueFlags(f *pflag.FlagSet, o *bench.DialogueOptions, pairs int, rate float64) {
	f.IntVar(&o.Pairs, "pairs", pairs, "`number` of pairs of friends who send dialogues to each other")
	f.IntVar(&o.Window, "window", 32, "`number` of unanswered dialogues per user")
	f.IntVar(&o.Size, "size", 128, "size of a payload in `bytes`")
	f.Float64Var(&o.Rate, "rate", rate, "`dialogues` per second of all users (0 = limited by the window only)")
}

func checkDialogueOptions(o bench.DialogueOptions, minPairs int) error {
	err := errors.Join(checkRange("pairs", o.Pairs, minPairs, 20000), checkRange("window", o.Window, 1, 2048), checkRange("size", o.Size, 1, 60000), checkDuration("for", o.For))
	if err == nil && (o.Rate < 0 || o.Rate > 1e7) {
		err = usageErrorf("--rate must be from 0 to 10000000")
	}
	return err
}

func newBenchDialogue(env *Env) *cobra.Command {
	var (
		common benchOptions
		o      bench.DialogueOptions
	)
	c := &cobra.Command{
		Use:   "dialogue",
		Short: "Measure dialogues between pairs of friends",
		Long: `Measure how fast pairs of friends send dialogues to each other, and how long the answers take.

Each session may send as many dialogues as limits.dialogues allows. The output says if that has limited
the measurement.`,
		Example: "  imctl bench dialogue --pairs 50 --for 30s",
		Args:    maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkDialogueOptions(o, 1); err != nil {
				return err
			}
			return runBench(c, env, &common, func(ctx context.Context, r *benchRun) (bench.Report, error) {
				report, err := bench.Dialogue(ctx, r.target, r.crowd, r.server, r.progress, o)
				if err != nil {
					return nil, err
				}
				report.Limit = dialogueLimit(r.config.Limits.Dialogues, report)
				return report, nil
			})
		},
	}
	addDialogueFlags(c.Flags(), &o, 25, 0)
	c.Flags().DurationVar(&o.For, "for", 10*time.Second, "`duration` of the measurement")
	c.Flags().BoolVar(&o.Keep, "keep", false, "log in as clients that keep conversations and acknowledge dialogues")
	common.addTo(c, true)
	return c
}

func newBenchIdle(env *Env) *cobra.Command {
	var (
		common benchOptions
		o      bench.IdleOptions
	)
	c := &cobra.Command{
		Use:     "idle",
		Short:   "Measure the memory of idle connections",
		Long:    `Open connections that do nothing, and measure the memory and CPU time that each costs the server.`,
		Example: "  imctl bench idle --connections 10000",
		Args:    maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			err := errors.Join(checkRange("connections", o.Connections, 1, 1_000_000), checkRange("friends", o.Friends, 0, 2000),
				checkRange("at-once", o.AtOnce, 1, 1024), checkDuration("settle", o.Settle))
			if err != nil {
				return err
			}
			return runBench(c, env, &common, func(ctx context.Context, r *benchRun) (bench.Report, error) {
				return bench.Idle(ctx, r.target, r.crowd, r.server, r.progress, o)
			})
		},
	}
	c.Flags().IntVar(&o.Connections, "connections", 500, "`number` of connections")
	c.Flags().IntVar(&o.Friends, "friends", 0, "`number` of friends of each user")
	c.Flags().IntVar(&o.AtOnce, "at-once", 16, "`number` of concurrent logins")
	c.Flags().DurationVar(&o.Settle, "settle", 5*time.Second, "idle `time` before the memory is measured")
	common.addTo(c, true)
	return c
}

func newBenchLogin(env *Env) *cobra.Command {
	var (
		common benchOptions
		o      bench.LoginOptions
	)
	c := &cobra.Command{
		Use:   "login",
		Short: "Measure many concurrent logins",
		Long: `Measure many concurrent logins, as after a restart of a server. The server has the passwords in its cache,
so the time does not include hashing. With --pairs, other users send dialogues before and during the
logins.`,
		Example: "  imctl bench login --people 5000",
		Args:    maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			err := errors.Join(checkRange("people", o.People, 1, 1_000_000), checkRange("friends", o.Friends, 0, 2000), checkRange("at-once", o.AtOnce, 1, 4096),
				checkDialogueOptions(o.Chat, 0))
			if err != nil {
				return err
			}
			if o.Keep && o.Token {
				return usageErrorf("--keep and --token cannot be used together")
			}
			return runBench(c, env, &common, func(ctx context.Context, r *benchRun) (_ bench.Report, err error) {
				if o.Keep {
					if o.Talks, err = r.talks(ctx); err != nil {
						return nil, err
					}
				}
				return bench.Login(ctx, r.target, r.crowd, r.server, r.progress, o)
			})
		},
	}
	c.Flags().IntVar(&o.People, "people", 500, "`number` of users who log in")
	c.Flags().IntVar(&o.Friends, "friends", 20, "`number` of friends of each user")
	c.Flags().IntVar(&o.AtOnce, "at-once", 64, "`number` of concurrent logins")
	c.Flags().BoolVar(&o.Token, "token", false, "log in with tokens instead of passwords")
	c.Flags().BoolVar(&o.Keep, "keep", false, "log in as clients that keep conversations, one with each friend")
	addDialogueFlags(c.Flags(), &o.Chat, 0, 500)
	c.Flags().DurationVar(&o.Chat.For, "for", 5*time.Second, "`duration` of the dialogues before the logins")
	common.addTo(c, true)
	return c
}

func newBenchCalls(env *Env) *cobra.Command {
	var (
		common benchOptions
		o      bench.CallOptions
		as     string
	)
	c := &cobra.Command{
		Use:   "calls",
		Short: "Measure logins and HTTP calls one at a time",
		Long: `Measure each of these one at a time: a login, a search for users, a friend request, its acceptance, the
removal of the friendship, and a page of the list of accounts. The server has the password of the login in
its cache.

With --as, an existing account logs in. The command prompts for its password, or reads it from standard
input if that is not a terminal.`,
		Example: "  imctl bench calls --as alice",
		Args:    maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := errors.Join(checkRange("friends", o.Friends, 0, 2000), checkRange("times", o.Times, 1, 100_000)); err != nil {
				return err
			}
			if as != "" {
				password, err := readPassword(c.Context(), env)
				if err != nil {
					return err
				}
				o.As = &bench.Person{Account: as, Password: password}
			}
			return runBench(c, env, &common, func(ctx context.Context, r *benchRun) (bench.Report, error) {
				o.Users = r.admin
				return bench.Calls(ctx, r.target, r.crowd, r.server, r.progress, o)
			})
		},
	}
	c.Flags().IntVar(&o.Friends, "friends", 200, "`number` of friends of the user who logs in")
	c.Flags().IntVar(&o.Times, "times", 200, "`number` of repetitions")
	c.Flags().StringVar(&o.Begins, "begins", "", "search for names that begin with this `text` (default is the names of the test accounts)")
	c.Flags().StringVar(&as, "as", "", "log in with this existing `account` (default is a test account)")
	common.one = true
	common.addTo(c, true)
	return c
}

func newBenchRegister(env *Env) *cobra.Command {
	var (
		common benchOptions
		o      bench.RegisterOptions
	)
	c := &cobra.Command{
		Use:   "register",
		Short: "Measure concurrent registrations",
		Long: `Measure concurrent registrations through the protocol, and how fast this machine hashes a password. The
server accepts limits.registrations from one address.`,
		Example: "  imctl bench register --people 500 -o json",
		Args:    maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := errors.Join(checkRange("people", o.People, 1, 100_000), checkRange("at-once", o.AtOnce, 1, 1024)); err != nil {
				return err
			}
			return runBench(c, env, &common, func(ctx context.Context, r *benchRun) (bench.Report, error) {
				hasher := newHasher(r.config, nil)
				o.Hash = func(ctx context.Context) error {
					_, err := hasher.Hash(ctx, kv.NewID())
					return err
				}
				return bench.Register(ctx, r.target, r.server, r.progress, o, func(people []bench.Person) { r.adopt(ctx, people) })
			})
		},
	}
	c.Flags().IntVar(&o.People, "people", 200, "`number` of registrations")
	c.Flags().IntVar(&o.AtOnce, "at-once", 8, "`number` of concurrent registrations")
	common.one = true
	common.addTo(c, true)
	return c
}

func newBenchHistory(env *Env) *cobra.Command {
	var (
		common benchOptions
		o      bench.HistoryOptions
	)
	c := &cobra.Command{
		Use:   "history",
		Short: "Measure pages of kept conversations, one at a time",
		Long: `Write conversations directly to their stream, and measure how long it takes to read their newest page, and
a page anywhere in them, one at a time. At the end, the command erases the conversations.`,
		Example: "  imctl bench history --dialogues 1000000",
		Args:    maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			err := errors.Join(checkRange("conversations", o.Conversations, 1, 1_000_000), checkRange("dialogues", o.Dialogues, o.Conversations, 1_000_000_000),
				checkRange("per-record", o.PerRecord, 1, 1000), checkRange("size", o.Size, 1, 1000), checkRange("page", o.Page, 1, 200),
				checkRange("times", o.Times, 1, 100_000))
			if err != nil {
				return err
			}
			return runBench(c, env, &common, func(ctx context.Context, r *benchRun) (bench.Report, error) {
				talks, err := r.talks(ctx)
				if err != nil {
					return nil, err
				}
				return bench.History(ctx, r.target, r.crowd, talks, r.server, r.progress, o)
			})
		},
	}
	c.Flags().IntVar(&o.Conversations, "conversations", 20_000, "`number` of conversations")
	c.Flags().IntVar(&o.Dialogues, "dialogues", 1_000_000, "`number` of dialogues of all conversations together")
	c.Flags().IntVar(&o.PerRecord, "per-record", 2, "`number` of dialogues that are stored as one record")
	c.Flags().IntVar(&o.Size, "size", 128, "size of a payload in `bytes`")
	c.Flags().IntVar(&o.Page, "page", 50, "`number` of dialogues of a page")
	c.Flags().IntVar(&o.Times, "times", 1000, "`number` of pages to read of either kind")
	common.one = true
	common.addTo(c, false)
	return c
}

// adopt registers accounts for removal that bench.Register has created. It ignores accounts that do not exist.
func (r *benchRun) adopt(ctx context.Context, people []bench.Person) {
	crowd, ok := r.crowd.(*bench.Administered)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), benchCleanupTimeout)
	defer cancel()
	for _, p := range people {
		u, err := r.admin.User(ctx, p.Account)
		if err == nil {
			crowd.Adopt(kv.Member{User: kv.User{ID: u.ID, Account: u.Account, Profile: kv.Profile{Name: u.Name}}})
		}
	}
}

// newBenchPopulate returns the command that prepares a data directory for measuring a server with many accounts. It is
// hidden, since it would be a mistake to run it on a server in use.
func newBenchPopulate(env *Env) *cobra.Command {
	var o bench.PopulateOptions
	c := &cobra.Command{
		Use:    "populate",
		Short:  "Create many permanent test accounts",
		Hidden: true,
		Long: `Create the permanent accounts bench-person-0, bench-person-1 and so on. The command prompts for their
common password, or reads it from standard input if that is not a terminal. It writes the accounts
directly to the buckets of the server, or of the data directory if no server is running.`,
		Args: maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			err := errors.Join(checkRange("accounts", o.Accounts, 1, 100_000_000), checkRange("friends", o.Friends, 0, 2000), checkEven("friends", o.Friends), checkRange("popular", o.Popular, 0, 1000),
				checkRange("popular-friends", o.PopularFriends, 0, 2000))
			if err != nil {
				return err
			}
			password, err := readPassword(c.Context(), env)
			if err != nil {
				return err
			}
			return withNATS(c, env, func(ctx context.Context, nc *nats.Conn, config *Config) error {
				return populate(ctx, env, nc, config, password, o)
			})
		},
	}
	mayCreate(c)
	c.Flags().IntVar(&o.Accounts, "accounts", 10_000, "`number` of accounts")
	c.Flags().IntVar(&o.Friends, "friends", 20, "`number` of friends of each account, even")
	c.Flags().IntVar(&o.Popular, "popular", 10, "`number` of accounts with additional friends")
	c.Flags().IntVar(&o.PopularFriends, "popular-friends", 180, "`number` of their additional friends")
	addServerFlags(c)
	return c
}

func populate(ctx context.Context, env *Env, nc *nats.Conn, config *Config, password string, o bench.PopulateOptions) (err error) {
	if err := admin.NewClient(nc, config.NATS.Prefix).Ping(ctx); err != nil {
		return err
	}
	bulk, err := kv.NewBulk(ctx, nc, config.NATS.Prefix)
	if err != nil {
		return err
	}
	if o.Hash, err = newHasher(config, nil).Hash(ctx, password); err != nil {
		return err
	}
	return bench.Populate(ctx, bulk, &bench.Progress{Terminal: terminalOf(env.Err)}, o)
}
