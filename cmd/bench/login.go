package bench

import (
	"context"
	"fmt"
	"time"
)

// LoginOptions are a storm of logins.
type LoginOptions struct {
	People  int
	Friends int  // of each, among them
	AtOnce  int  // how many log in side by side
	Token   bool // they resume their sessions by token

	// Chat goes on beside the storm, and before it for as long as For says: what the storm does to the latency of those who
	// talk is the difference. No pairs: nobody talks.
	Chat DialogueOptions
}

// LoginReport is what came of it.
type LoginReport struct {
	People  int     `json:"people"`
	Friends int     `json:"friends"`
	AtOnce  int     `json:"at_once"`
	Token   bool    `json:"by_token"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"logins_per_second"`
	Login   Latency `json:"login_ms"`
	// What those who talked waited for their answers, before the storm and in it.
	Quiet *Latency `json:"chat_quiet_ms,omitempty"`
	Storm *Latency `json:"chat_storm_ms,omitempty"`
	// Server counts the chat in.
	Server *Usage `json:"server"`

	plot []Series
}

// Login has people log in, all in a hurry. The server knows their password already, as one does that restarts its connections:
// not the hash is measured but all the rest.
func Login(ctx context.Context, t *Target, crowd Crowd, server Process, progress *Progress, o LoginOptions) (*LoginReport, error) {
	o.Friends = neighbours(o.People, o.Friends)
	progress.say(fmt.Sprintf("login: making %d people", o.People))
	people, err := crowd.Make(ctx, o.People, circle(o.People, o.Friends))
	if err != nil {
		return nil, err
	}
	h := &hall{target: t}
	if h.open, err = known(ctx, t, people, o, progress); err != nil {
		return nil, err
	}
	report := &LoginReport{People: o.People, Friends: o.Friends, AtOnce: o.AtOnce, Token: o.Token}
	var c *chat
	if o.Chat.Pairs > 0 {
		friends, err := crowd.Make(ctx, 2*o.Chat.Pairs, pairsOf(o.Chat.Pairs))
		if err != nil {
			return nil, err
		}
		if c, err = newChat(ctx, t, friends, o.Chat.Window, o.Chat.Size, o.Chat.Rate); err != nil {
			return nil, err
		}
		defer func() { c.finish() }()
		c.measure(o.Chat.For)
		c.start()
		stop := progress.every(c.line("login: before the storm", o.Chat.For))
		err = pause(ctx, o.Chat.For)
		stop()
		if err != nil {
			return nil, err
		}
		quiet := c.answers.Load().series("chat before")
		report.Quiet = &quiet.Whole
		c.measure(time.Minute)
	}
	return report, report.storm(ctx, h, people, c, server, progress)
}

func (r *LoginReport) storm(ctx context.Context, h *hall, people []Person, c *chat, server Process, progress *Progress) error {
	before := server.look()
	h.meter = newMeter(30 * time.Second)
	defer h.leave()
	stop := progress.every(h.line("login", len(people)))
	began := time.Now()
	err := h.enter(ctx, people, r.AtOnce)
	stop()
	if err != nil {
		return err
	}
	r.Seconds = time.Since(began).Seconds()
	r.Rate = float64(r.People) / r.Seconds
	r.Server = server.look().since(before, int64(r.People))
	r.plot = []Series{h.meter.series("login")}
	r.Login = r.plot[0].Whole
	if c != nil {
		beside := c.answers.Load().series("chat beside")
		r.plot, r.Storm = append(r.plot, beside), &beside.Whole
	}
	return nil
}

// known sees to it that the server knows the people's passwords, or that they have tokens, and returns how they log in.
func known(ctx context.Context, t *Target, people []Person, o LoginOptions, progress *Progress) (func(context.Context, int) (*tunnel, error), error) {
	if !o.Token {
		// Whoever registered has logged in; all others have one hash.
		c, err := t.login(ctx, people[0])
		if err != nil {
			return nil, err
		}
		c.close()
		return func(ctx context.Context, i int) (*tunnel, error) { return t.login(ctx, people[i]) }, nil
	}
	tokens := make([]string, len(people))
	h := &hall{target: t, meter: newMeter(time.Minute)}
	defer h.leave()
	h.open = func(ctx context.Context, i int) (*tunnel, error) {
		c, err := t.login(ctx, people[i])
		if err == nil {
			tokens[i] = c.token
		}
		return c, err
	}
	stop := progress.every(h.line("login: for tokens", len(people)))
	err := h.enter(ctx, people, loginsAtOnce)
	stop()
	return func(ctx context.Context, i int) (*tunnel, error) { return t.resume(ctx, people[i].ID, tokens[i]) }, err
}

// Plot returns the latencies to plot.
func (r *LoginReport) Plot() []Series { return r.plot }

// Rows are the report as a table.
func (r *LoginReport) Rows() [][]string {
	how := "by password"
	if r.Token {
		how = "by token"
	}
	rows := [][]string{
		{"load", fmt.Sprintf("%d people %s, %d friends each, %d side by side, %.1f s", r.People, how, r.Friends, r.AtOnce, r.Seconds)},
		{"logins", perSecond(r.Rate)},
		{"login", r.Login.String()},
	}
	if r.Quiet != nil && r.Storm != nil {
		rows = append(rows, []string{"chat before", r.Quiet.String()}, []string{"chat beside", r.Storm.String()})
	}
	return append(rows, r.Server.rows("login")...)
}
