package cmd

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"imctl/bridge/admin"
	"imctl/kv"
)

const (
	// completionTimeout limits how long a completion waits for the server. The shell waits meanwhile.
	completionTimeout = time.Second
	// maxCompletions is how many names a completion offers.
	maxCompletions = 100
)

// names returns the completions of an argument. args are the arguments before it, and begins is the text so far.
type names func(ctx context.Context, client *admin.Client, args []string, begins string) ([]cobra.Completion, error)

// namesOf has the completions of arguments, by their name in the usage line.
var namesOf = map[string]names{
	"USER":    userNames,
	"FRIEND":  userNames,
	"NAME":    attachmentNames,
	"WEBHOOK": webhookNames,
	"REPORT":  reportNames,
	"SESSION": sessionNames,
	"HASH":    tokenNames,
	"ID":      inviteNames,
}

// namesOfFlags has the completions of flags, by the command and the flag.
var namesOfFlags = map[string]names{
	"imctl session list --user": userNames,
	"imctl session list --node": nodeNames,
	"imctl audit --user":        userNames,
	"imctl bench calls --as":    userNames,
	"imctl talk purge --user":   userNames,
	"imctl talk purge --with":   userNames,
	"imctl talk show --user":    userNames,
	"imctl talk show --with":    userNames,
}

// completeArgs sets the completions of the arguments and flags of c that name a record on the server. A new attachment
// has no name yet.
func completeArgs(env *Env, c *cobra.Command) {
	path := c.CommandPath()
	for key, complete := range namesOfFlags {
		if flag, ok := strings.CutPrefix(key, path+" --"); ok && c.Flags().Lookup(flag) != nil {
			// The error is for a flag that has completions already.
			_ = c.RegisterFlagCompletionFunc(flag, func(c *cobra.Command, args []string, begins string) ([]cobra.Completion, cobra.ShellCompDirective) {
				return offer(c, env, complete, nil, begins)
			})
		}
	}
	words := strings.Fields(c.Use)[1:]
	if len(words) == 0 || path == "imctl attach add" || path == "imctl webhook add" || c.ValidArgsFunction != nil || c.ValidArgs != nil {
		return
	}
	c.ValidArgsFunction = func(c *cobra.Command, args []string, begins string) ([]cobra.Completion, cobra.ShellCompDirective) {
		repeated := strings.HasSuffix(words[len(words)-1], "...]")
		if len(args) >= len(words) && !repeated {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		word := strings.Trim(words[min(len(args), len(words)-1)], "[].")
		if strings.Contains(word, "FILE") || strings.Contains(word, "DIR") {
			return nil, cobra.ShellCompDirectiveDefault
		}
		complete, ok := namesOf[word]
		if !ok {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return offer(c, env, complete, args, begins)
	}
}

// offer asks the running server for completions. It offers none if the server does not answer in time: a completion
// prints no errors, and opens no data directory.
func offer(c *cobra.Command, env *Env, complete names, args []string, begins string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(c.Context(), completionTimeout)
	defer cancel()
	found := make(chan []cobra.Completion, 1)
	go func() { // connecting does not end with ctx; the process ends before
		all, err := askForNames(ctx, c, env, complete, args, begins)
		if err != nil {
			all = nil
		}
		found <- all
	}()
	select {
	case all := <-found:
		return all, cobra.ShellCompDirectiveNoFileComp
	case <-ctx.Done():
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

func askForNames(ctx context.Context, c *cobra.Command, env *Env, complete names, args []string, begins string) ([]cobra.Completion, error) {
	config, err := loadConfig(env, c.Flags())
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	d := dialer{env: env, config: config, cancel: stop}
	var nc *nats.Conn
	if config.NATS.Embedded() {
		nc, err = d.dialDataDir(ctx)
	} else {
		nc, err = dialNATS(config.NATS, d.connectOptions()...)
	}
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	all, err := complete(ctx, admin.NewClient(nc, config.NATS.Prefix), args, begins)
	all = slices.DeleteFunc(all, func(name cobra.Completion) bool {
		return !strings.HasPrefix(strings.ToLower(name), strings.ToLower(begins))
	})
	return all[:min(len(all), maxCompletions)], err
}

// completion returns a completion with its description. Users choose their accounts, and the shell puts a completion on
// the command line as it is. So a name gets none if it has a character that could be special in a shell, or looks like
// a flag.
func completion(name, description string) []cobra.Completion {
	special := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !strings.ContainsRune("-_.@+:", r)
	}
	if name == "" || name[0] == '-' || strings.ContainsFunc(name, special) {
		return nil
	}
	return []cobra.Completion{cobra.CompletionWithDesc(name, printable(description))}
}

// gather returns the completions of the entries of the first pages.
func gather[T any](pages iter.Seq2[[]T, error], name func(T) []cobra.Completion) (all []cobra.Completion, err error) {
	for page, err := range pages {
		if err != nil {
			return all, err
		}
		for _, entry := range page {
			all = append(all, name(entry)...)
		}
		if len(all) >= maxCompletions {
			break
		}
	}
	return all, nil
}

func userNames(ctx context.Context, client *admin.Client, _ []string, begins string) ([]cobra.Completion, error) {
	return gather(client.AllUsers(ctx, admin.ListUsers{Begins: begins, Limit: maxCompletions}), func(u admin.User) []cobra.Completion {
		if !strings.HasPrefix(strings.ToLower(u.Account), strings.ToLower(begins)) {
			return nil // the name begins so
		}
		return completion(u.Account, u.Name)
	})
}

func attachmentNames(ctx context.Context, client *admin.Client, _ []string, _ string) (all []cobra.Completion, err error) {
	list, err := client.Attachments(ctx)
	for _, a := range list.Attachments {
		all = append(all, completion(a.Name, string(a.Role))...)
	}
	return all, err
}

func webhookNames(ctx context.Context, client *admin.Client, _ []string, _ string) (all []cobra.Completion, err error) {
	list, err := client.Webhooks(ctx)
	for _, w := range list.Webhooks {
		all = append(all, completion(w.Name, w.State())...)
	}
	return all, err
}

func sessionNames(ctx context.Context, client *admin.Client, args []string, _ string) ([]cobra.Completion, error) {
	return gather(client.Sessions(ctx, admin.ListSessions{User: args[0], Limit: maxCompletions}), func(s admin.Session) []cobra.Completion {
		return completion(s.ID, fmt.Sprintf("%s, since %s", s.Address, localTime(s.Since)))
	})
}

func tokenNames(ctx context.Context, client *admin.Client, args []string, _ string) ([]cobra.Completion, error) {
	return gather(client.Tokens(ctx, admin.ListTokens{User: args[0], Limit: maxCompletions}), func(t admin.Token) []cobra.Completion {
		return completion(t.Hash, "issued "+localTime(t.Issued))
	})
}

func inviteNames(ctx context.Context, client *admin.Client, _ []string, _ string) ([]cobra.Completion, error) {
	return gather(client.Invites(ctx, admin.ListInvites{Limit: maxCompletions}), func(i kv.Invite) []cobra.Completion {
		return completion(i.ID, i.Note)
	})
}

func reportNames(ctx context.Context, client *admin.Client, _ []string, _ string) ([]cobra.Completion, error) {
	return gather(client.Reports(ctx, admin.ListReports{Limit: maxCompletions}), func(r admin.Report) []cobra.Completion {
		return completion(r.ID, "about "+r.Account)
	})
}

func nodeNames(ctx context.Context, client *admin.Client, _ []string, _ string) (all []cobra.Completion, err error) {
	status, err := client.Status(ctx)
	for _, n := range status.Nodes {
		all = append(all, completion(n.ID, n.Host)...)
	}
	return all, err
}
