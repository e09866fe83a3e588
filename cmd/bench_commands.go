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

// within refuses a flag's number that is out of bounds.
func within(flag string, value, least, most int) error {
	if value < least || value > most {
		return wrongUse("--%s must be from %d to %d", flag, least, most)
	}
	return nil
}

// lastsWithin refuses a flag's time that is out of bounds.
func lastsWithin(flag string, value time.Duration) error {
	if value < 100*time.Millisecond || value > 24*time.Hour {
		return wrongUse("--%s must be from 100ms to 24h", flag)
	}
	return nil
}

// addDialogueFlags adds what says how people talk.
func addDialogueFlags(f *pflag.FlagSet, o *bench.DialogueOptions, pairs int, rate float64) {
	f.IntVar(&o.Pairs, "pairs", pairs, "`pairs` of friends who talk, both to each other")
	f.IntVar(&o.Window, "window", 32, "`dialogues` of each that may wait for their answers")
	f.IntVar(&o.Size, "size", 128, "`bytes` of a payload")
	f.Float64Var(&o.Rate, "rate", rate, "`dialogues` a second of all; 0: as many as the windows let them")
}

func checkDialogues(o bench.DialogueOptions, leastPairs int) error {
	err := errors.Join(within("pairs", o.Pairs, leastPairs, 20000), within("window", o.Window, 1, 2048), within("size", o.Size, 1, 60000), lastsWithin("for", o.For))
	if err == nil && (o.Rate < 0 || o.Rate > 1e7) {
		err = wrongUse("--rate must be from 0 to 10000000")
	}
	return err
}

func newBenchDialogue(env *Env) *cobra.Command {
	var (
		common benchOptions
		o      bench.DialogueOptions
	)
	c := &cobra.Command{
		Use:     "dialogue",
		Short:   "Let pairs of friends talk",
		Example: "  imctl bench dialogue --pairs 50 --for 30s",
		Args:    mayHave(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkDialogues(o, 1); err != nil {
				return err
			}
			return runBench(c, env, &common, func(ctx context.Context, r *benchRun) (bench.Report, error) {
				return bench.Dialogue(ctx, r.target, r.crowd, r.server, r.progress, o)
			})
		},
	}
	addDialogueFlags(c.Flags(), &o, 25, 0)
	c.Flags().DurationVar(&o.For, "for", 10*time.Second, "how `long` they talk")
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
		Short:   "Open connections that say nothing, and tell what each costs in memory",
		Example: "  imctl bench idle --connections 10000",
		Args:    mayHave(0),
		RunE: func(c *cobra.Command, _ []string) error {
			err := errors.Join(within("connections", o.Connections, 1, 1_000_000), within("friends", o.Friends, 0, 2000),
				within("at-once", o.AtOnce, 1, 1024), lastsWithin("settle", o.Settle))
			if err != nil {
				return err
			}
			return runBench(c, env, &common, func(ctx context.Context, r *benchRun) (bench.Report, error) {
				return bench.Idle(ctx, r.target, r.crowd, r.server, r.progress, o)
			})
		},
	}
	c.Flags().IntVar(&o.Connections, "connections", 1000, "`how many`")
	c.Flags().IntVar(&o.Friends, "friends", 0, "`friends` of each among them")
	c.Flags().IntVar(&o.AtOnce, "at-once", 16, "`how many` connect side by side")
	c.Flags().DurationVar(&o.Settle, "settle", 5*time.Second, "how `long` they are quiet before the memory is looked at")
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
		Short: "Have many people log in, all in a hurry",
		Long: `Has many people log in, all in a hurry, as they do when a server has been restarted. The server knows
their passwords: not hashing is measured but all the rest. With --pairs, others talk before the storm and in it.`,
		Example: "  imctl bench login --people 5000",
		Args:    mayHave(0),
		RunE: func(c *cobra.Command, _ []string) error {
			err := errors.Join(within("people", o.People, 1, 1_000_000), within("friends", o.Friends, 0, 2000), within("at-once", o.AtOnce, 1, 4096),
				checkDialogues(o.Chat, 0))
			if err != nil {
				return err
			}
			return runBench(c, env, &common, func(ctx context.Context, r *benchRun) (bench.Report, error) {
				return bench.Login(ctx, r.target, r.crowd, r.server, r.progress, o)
			})
		},
	}
	c.Flags().IntVar(&o.People, "people", 1000, "`how many`")
	c.Flags().IntVar(&o.Friends, "friends", 20, "`friends` of each among them")
	c.Flags().IntVar(&o.AtOnce, "at-once", 64, "`how many` log in side by side")
	c.Flags().BoolVar(&o.Token, "token", false, "by token, as who was logged in before")
	addDialogueFlags(c.Flags(), &o.Chat, 0, 500)
	c.Flags().DurationVar(&o.Chat.For, "for", 5*time.Second, "how `long` pairs talk before the storm")
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
		Short: "Measure logins and calls, one after the other",
		Long: `Measures a login, a search, a request, its answer, the end of the friendship, and a page of the list of
accounts, one after the other. The server knows the password of the login.

With --as it is somebody's who exists: the password is asked for, or read from standard input.`,
		Example: "  imctl bench calls --as alice",
		Args:    mayHave(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := errors.Join(within("friends", o.Friends, 0, 2000), within("times", o.Times, 1, 100_000)); err != nil {
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
	c.Flags().IntVar(&o.Friends, "friends", 200, "`friends` of who logs in")
	c.Flags().IntVar(&o.Times, "times", 200, "`how often` each is done")
	c.Flags().StringVar(&o.Begins, "begins", "", "beginning of the names that are searched, a `text` (default that of the people made for it)")
	c.Flags().StringVar(&as, "as", "", "`account` that logs in (default one made for it)")
	common.addTo(c, true)
	return c
}

func newBenchRegister(env *Env) *cobra.Command {
	var (
		common benchOptions
		o      bench.RegisterOptions
	)
	c := &cobra.Command{
		Use:     "register",
		Short:   "Have many people register",
		Example: "  imctl bench register --people 500 -o json",
		Args:    mayHave(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := errors.Join(within("people", o.People, 1, 100_000), within("at-once", o.AtOnce, 1, 1024)); err != nil {
				return err
			}
			return runBench(c, env, &common, func(ctx context.Context, r *benchRun) (bench.Report, error) {
				hasher := newHasher(r.config)
				o.Hash = func(ctx context.Context) error {
					_, err := hasher.Hash(ctx, kv.NewID())
					return err
				}
				return bench.Register(ctx, r.target, r.server, r.progress, o, func(people []bench.Person) { r.adopt(ctx, people) })
			})
		},
	}
	c.Flags().IntVar(&o.People, "people", 200, "`how many`")
	c.Flags().IntVar(&o.AtOnce, "at-once", 8, "`how many` register side by side")
	common.addTo(c, true)
	return c
}

// adopt has people who registered by themselves removed in the end, as far as they did.
func (r *benchRun) adopt(ctx context.Context, people []bench.Person) {
	crowd, ok := r.crowd.(*bench.Administered)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), benchCleanup)
	defer cancel()
	for _, p := range people {
		u, err := r.admin.User(ctx, p.Account)
		if err == nil {
			crowd.Adopt(kv.Member{User: kv.User{ID: u.ID, Account: u.Account, Profile: kv.Profile{Name: u.Name}}})
		}
	}
}

// newBenchPopulate is for measuring a server that has very many accounts, and for a data directory that was
// made for that: hidden, since nobody wants a million strangers among the people who are there.
func newBenchPopulate(env *Env) *cobra.Command {
	var o bench.PopulateOptions
	c := &cobra.Command{
		Use:    "populate",
		Short:  "Make very many accounts that stay",
		Hidden: true,
		Long: `Makes accounts that stay, bench-person-0 and so on, all with the one password that is asked for, or read from standard input.
They are written straight into the buckets of the server, or of the data directory where none runs.`,
		Args: mayHave(0),
		RunE: func(c *cobra.Command, _ []string) error {
			err := errors.Join(within("accounts", o.Accounts, 1, 100_000_000), within("friends", o.Friends, 0, 2000), within("popular", o.Popular, 0, 1000),
				within("popular-friends", o.PopularFriends, 0, 2000))
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
	c.Flags().IntVar(&o.Accounts, "accounts", 10_000, "`how many`")
	c.Flags().IntVar(&o.Friends, "friends", 20, "`friends` of each, an even number")
	c.Flags().IntVar(&o.Popular, "popular", 10, "`how many` of the first have more friends")
	c.Flags().IntVar(&o.PopularFriends, "popular-friends", 180, "how many `more` they have")
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
	if o.Hash, err = newHasher(config).Hash(ctx, password); err != nil {
		return err
	}
	return bench.Populate(ctx, bulk, &bench.Progress{Terminal: terminalOf(env.Err)}, o)
}
