package bench

import (
	"context"
	"fmt"
	"time"
)

// LoginOptions are the options of Login.
type LoginOptions struct {
	People  int
	Friends int  // friends of each user
	AtOnce  int  // concurrent logins
	Token   bool // log in with tokens
	Keep    bool // log in as clients that keep conversations
	// Talks, if it is not nil, writes a conversation of one dialogue for each two friends before the logins.
	Talks *Talks

	// Chat runs for Chat.For before the logins, and during them. The report has its latencies for both times. Without
	// pairs there is no chat.
	Chat DialogueOptions
}

// LoginReport is the result of Login.
type LoginReport struct {
	People  int     `json:"people"`
	Friends int     `json:"friends"`
	AtOnce  int     `json:"at_once"`
	Token   bool    `json:"by_token"`
	Keep    bool    `json:"kept"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"logins_per_second"`
	Login   Latency `json:"login_ms"`
	// Latencies of the answers to the chat's dialogues, before and during the logins.
	Quiet *Latency `json:"chat_quiet_ms,omitempty"`
	Storm *Latency `json:"chat_storm_ms,omitempty"`
	// Server includes the usage by the chat.
	Server *Usage `json:"server"`

	plot []Series
}

// Login measures many concurrent logins. The server has the password in its cache, so the logins do not hash it.
func Login(ctx context.Context, t *Target, crowd Crowd, server Process, progress *Progress, o LoginOptions) (*LoginReport, error) {
	o.Friends = neighbours(o.People, o.Friends)
	progress.show(fmt.Sprintf("login: creating %d accounts", o.People))
	people, err := crowd.Make(ctx, o.People, circle(o.People, o.Friends))
	if err != nil {
		return nil, err
	}
	if o.Talks != nil {
		if err := o.Talks.fill(ctx, pairsOfFriends(people, circle(o.People, o.Friends)), fillOptions{each: 1, perRecord: 1, size: 128}, progress); err != nil {
			return nil, err
		}
	}
	s := &sessions{target: t}
	if s.open, err = prepareLogins(ctx, t, people, o, progress); err != nil {
		return nil, err
	}
	report := &LoginReport{People: o.People, Friends: o.Friends, AtOnce: o.AtOnce, Token: o.Token, Keep: o.Keep}
	var c *chat
	if o.Chat.Pairs > 0 {
		friends, err := crowd.Make(ctx, 2*o.Chat.Pairs, pairsOf(o.Chat.Pairs))
		if err != nil {
			return nil, err
		}
		if c, err = newChat(ctx, t, friends, o.Chat); err != nil {
			return nil, err
		}
		defer func() { c.finish() }()
		c.measure(o.Chat.For)
		c.run()
		stop := progress.every(c.progressText("login: chat before the logins", o.Chat.For))
		err = sleep(ctx, o.Chat.For)
		stop()
		if err != nil {
			return nil, err
		}
		quiet := c.answers.Load().series("chat before")
		report.Quiet = &quiet.Whole
		c.measure(time.Minute)
	}
	return report, report.measure(ctx, s, people, c, server, progress)
}

// measure logs people in and fills the report.
func (r *LoginReport) measure(ctx context.Context, s *sessions, people []Person, c *chat, server Process, progress *Progress) error {
	before := server.sample()
	s.meter = newMeter(30 * time.Second)
	defer s.close()
	stop := progress.every(s.progressText("login", len(people)))
	start := time.Now()
	err := s.login(ctx, people, r.AtOnce)
	stop()
	if err != nil {
		return err
	}
	r.Seconds = time.Since(start).Seconds()
	r.Rate = float64(r.People) / r.Seconds
	r.Server = server.sample().since(before, int64(r.People))
	r.plot = []Series{s.meter.series("login")}
	r.Login = r.plot[0].Whole
	if c != nil {
		during := c.answers.Load().series("chat during")
		r.plot, r.Storm = append(r.plot, during), &during.Whole
	}
	return nil
}

// prepareLogins puts the password into the server's cache, or gets a token for each account. It returns a function that
// logs the i-th person in.
func prepareLogins(ctx context.Context, t *Target, people []Person, o LoginOptions, progress *Progress) (func(context.Context, int) (*tunnel, error), error) {
	if !o.Token {
		// Registered accounts have logged in already. Administered accounts have the same hash, so one login is enough.
		c, err := t.login(ctx, people[0])
		if err != nil {
			return nil, err
		}
		c.close()
		if o.Keep {
			return func(ctx context.Context, i int) (*tunnel, error) { return t.at(i).loginKeep(ctx, people[i]) }, nil
		}
		return func(ctx context.Context, i int) (*tunnel, error) { return t.at(i).login(ctx, people[i]) }, nil
	}
	tokens := make([]string, len(people))
	s := &sessions{target: t, meter: newMeter(time.Minute)}
	defer s.close()
	s.open = func(ctx context.Context, i int) (*tunnel, error) {
		c, err := t.at(i).login(ctx, people[i])
		if err == nil {
			tokens[i] = c.token
		}
		return c, err
	}
	stop := progress.every(s.progressText("login: getting tokens", len(people)))
	err := s.login(ctx, people, concurrentLogins)
	stop()
	return func(ctx context.Context, i int) (*tunnel, error) { return t.at(i).resume(ctx, people[i].ID, tokens[i]) }, err
}

// Plot implements Report.
func (r *LoginReport) Plot() []Series { return r.plot }

// Rows implements Report.
func (r *LoginReport) Rows() [][]string {
	method := "password"
	if r.Token {
		method = "token"
	}
	if r.Keep {
		method += " with keep=1"
	}
	rows := [][]string{
		{"load", fmt.Sprintf("%d logins by %s, %d friends each, %d concurrent, %.1f s", r.People, method, r.Friends, r.AtOnce, r.Seconds)},
		{"logins", perSecond(r.Rate)},
		{"login", r.Login.String()},
	}
	if r.Quiet != nil && r.Storm != nil {
		rows = append(rows, []string{"chat before", r.Quiet.String()}, []string{"chat during", r.Storm.String()})
	}
	return append(rows, r.Server.rows("login")...)
}
