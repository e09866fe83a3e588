package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/admin"
	"imctl/bridge/cluster"
	"imctl/bridge/governor"
	"imctl/bridge/identity"
	"imctl/bridge/natsutil"
)

const (
	// maxSkew is how far the clocks of two nodes may differ.
	maxSkew = 2 * time.Second
	// oldBuild is the age of a build from which on an upgrade is due.
	oldBuild = 365 * day
	// fullPercent is the fill of a stream that is a warning.
	fullPercent = 80
	// smallPayload is the default of NATS. Records and answers may have that size.
	smallPayload = int64(MiB)
)

// reportNATS reports the external NATS server. err is that of the connection.
func (d *doctor) reportNATS(ctx context.Context, err error) {
	const check = "nats"
	if err != nil {
		var failed *failure
		remedy := "start it, or correct nats.url"
		if errors.As(dialFailure(d.config.NATS, err, exitNoServer), &failed) && failed.remedy != "" {
			remedy = failed.remedy
		}
		d.add(levelFail, check, remedy, "%s", oneLine(dialFailure(d.config.NATS, err, exitNoServer)))
		return
	}
	before := len(d.found)
	js, err := natsutil.JetStream(d.server)
	var info *jetstream.AccountInfo
	if err == nil {
		info, err = js.AccountInfo(ctx)
	}
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		d.add(levelFail, check, "add to its configuration: jetstream {}", "%s has no JetStream for this account", serverName(d.config.NATS))
	case err != nil:
		d.add(levelFail, check, "look at its log and at imctl cluster status", "JetStream does not answer: %s", oneLine(err))
	case info.API.Level < 2:
		d.add(levelFail, check, "upgrade it to 2.12 or later", "version %s has no atomic batches", d.server.ConnectedServerVersion())
	}
	if most := d.server.MaxPayload(); most < smallPayload {
		d.add(levelFail, check, "add to its configuration: max_payload: 1MB", "its max_payload is %s", humanBytes(uint64(most)))
	}
	var failed *failure
	if err := checkPermissions(ctx, d.server, d.config.NATS, d.config.Backup.Dir != ""); errors.As(err, &failed) {
		d.add(levelFail, check, failed.remedy, "%s", oneLine(failed.err))
	} else if err != nil {
		d.add(levelFail, check, "", "%s", oneLine(err))
	}
	if len(d.found) == before {
		d.ok(check, "%s, version %s", RedactURL(d.server.ConnectedUrl()), d.server.ConnectedServerVersion())
	}
}

// checkServer checks what the running servers tell.
func (d *doctor) checkServer(ctx context.Context) {
	client := admin.NewClient(d.server, d.config.NATS.Prefix)
	asked := time.Now()
	live, err := client.Status(ctx)
	took := time.Since(asked)
	switch {
	case errors.Is(err, admin.ErrNoService):
		d.add(levelFail, "server", "systemctl start imctl, or imctl serve", "no imctl server runs on %s", serverName(d.config.NATS))
		return
	case err != nil:
		d.add(levelFail, "server", "look at the log of the server: journalctl -u imctl -n 50", "%s", oneLine(err))
		return
	}
	d.checkNodes(live.Nodes, asked, took)
	d.checkPrograms(live.Nodes)
	d.checkVersions(live.Nodes)
	d.checkStreams(ctx)
	d.checkWebhooks(ctx, client)
	d.checkProxies(ctx, client)
}

// checkNodes checks the states and the clocks of the nodes, which were asked at a time and have answered within a time.
func (d *doctor) checkNodes(nodes []cluster.NodeStatus, asked time.Time, took time.Duration) {
	before := len(d.found)
	for _, n := range nodes {
		if n.State != cluster.StateOK && n.State != strings.Join(n.Hooks, "; ") { // checkPrograms tells of hooks
			d.add(levelFail, "nodes", "look at its log, and at imctl status", "node %s: %s", n.ID, n.State)
		}
		if n.Load == nil {
			continue
		}
		skew := max(asked.Sub(n.Load.At), n.Load.At.Sub(asked.Add(took)))
		if skew > maxSkew {
			d.add(levelFail, "clock", "timedatectl set-ntp true, on both machines", "the clock of node %s (%s) differs by %s", n.ID, orDash(n.Host), humanAge(skew))
		}
	}
	if len(d.found) == before {
		d.ok("nodes", "%s", plural(len(nodes), "node"))
	}
}

// checkPrograms checks whether the programs answer on which hooks and logins depend.
func (d *doctor) checkPrograms(nodes []cluster.NodeStatus) {
	for _, n := range nodes {
		for _, problem := range n.Hooks {
			d.add(levelFail, "hooks", "start or mend the program with the role moderator that imctl attach list shows, or: imctl attach remove NAME", "node %s: %s", n.ID, problem)
		}
		for _, problem := range n.Auth {
			remedy := "start or mend the program with the role auth that imctl attach list shows, or remove nats from auth.modes"
			if strings.HasPrefix(problem, identity.JWT+":") {
				remedy = "correct auth.jwt.jwks and auth.ca, or mend the issuer"
			}
			d.add(levelFail, "auth", remedy, "node %s: auth.modes %s", n.ID, problem)
		}
	}
	if modes := d.config.Auth.Modes; !slices.Equal(modes, Defaults().Auth.Modes) && !slices.ContainsFunc(nodes, func(n cluster.NodeStatus) bool { return len(n.Auth) > 0 }) {
		d.ok("auth", "%s", strings.Join(modes, ", "))
	}
}

// checkVersions compares the versions of the nodes and of this binary.
func (d *doctor) checkVersions(nodes []cluster.NodeStatus) {
	own := readBuildInfo()
	var versions []string
	started := d.now
	for _, n := range nodes {
		if !slices.Contains(versions, n.Version) {
			versions = append(versions, n.Version)
		}
		if n.Started.Before(started) {
			started = n.Started
		}
	}
	slices.Sort(versions)
	built, err := time.Parse(time.RFC3339, own.Time)
	switch {
	case len(versions) > 1:
		d.add(levelWarn, "version", "upgrade the other nodes, one after the other", "nodes run different versions: %s", strings.Join(versions, ", "))
	case len(versions) == 1 && versions[0] != own.Version:
		d.add(levelWarn, "version", "systemctl restart imctl", "the server runs %s, and this binary is %s", orDash(versions[0]), own.Version)
	case err == nil && d.now.Sub(built) > oldBuild:
		d.add(levelWarn, "version", "upgrade imctl", "%s is %s old", own.Version, humanAge(d.now.Sub(built)))
	default:
		d.ok("version", "%s, running for %s", own.Version, humanAge(d.now.Sub(started)))
	}
}

// checkStreams checks the leaders, replicas and fill of the streams, and the lag of the consumers.
func (d *doctor) checkStreams(ctx context.Context) {
	before := len(d.found)
	js, err := natsutil.JetStream(d.server)
	var streams []streamInfo
	if err == nil {
		streams, err = readStreams(ctx, js, d.config.NATS.Prefix)
	}
	if err != nil {
		d.add(levelFail, "streams", "imctl cluster status", "%s", oneLine(err))
		return
	}
	for _, s := range streams {
		if s.State != streamOK {
			d.add(levelFail, "streams", "imctl cluster status shows the node to start; with the files lost: imctl restore FILE", "%s: %s", s.Name, s.State)
		}
	}
	d.checkFill(ctx, js)
	if len(d.found) == before {
		d.ok("streams", "%s", plural(len(streams), "stream"))
	}
}

// checkWebhooks checks whether the destinations of webhooks take events.
func (d *doctor) checkWebhooks(ctx context.Context, client *admin.Client) {
	all, err := readWebhooks(ctx, client)
	if err != nil {
		d.add(levelWarn, "webhooks", "", "%s", oneLine(err))
		return
	}
	before := len(d.found)
	for _, w := range all {
		switch {
		case !w.Enabled():
			d.add(levelWarn, "webhooks", "imctl webhook enable "+w.Name+", or: imctl webhook remove "+w.Name, "%s is %s", w.Name, oneLine(errors.New(w.State())))
		case w.State() != "ok":
			d.add(levelWarn, "webhooks", "imctl webhook test "+w.Name, "%s is %s; %s", w.Name, oneLine(errors.New(w.State())), queueText(w))
		case w.Failed > 0:
			d.add(levelWarn, "webhooks", "imctl webhook failed list "+w.Name, "%s has %s", w.Name, plural(int(w.Failed), "dead letter"))
		}
	}
	if len(all) > 0 && len(d.found) == before {
		d.ok("webhooks", "%s", plural(len(all), "webhook"))
	}
}

// checkFill checks how much of their limits conversations, files and the event log use.
func (d *doctor) checkFill(ctx context.Context, js jetstream.JetStream) {
	talks, err := readTalks(ctx, js, d.config.NATS.Prefix)
	if err == nil && talks != nil && talks.Percent >= fullPercent {
		d.add(levelWarn, "streams", "raise dialogues.max_bytes, or lower dialogues.keep", "conversations use %d %% of dialogues.max_bytes: the oldest are dropped when they are full", talks.Percent)
	}
	files, fileErr := readFiles(ctx, d.server, d.config.NATS.Prefix)
	if fileErr == nil && files != nil && files.MaxBytes > 0 {
		if percent := int(float64(files.Bytes) / float64(files.MaxBytes) * 100); percent >= fullPercent {
			d.add(levelWarn, "streams", "raise files.max_bytes, or lower dialogues.keep", "files use %d %% of files.max_bytes: no more are taken when they are full", percent)
		}
	}
	log, logErr := readLog(ctx, js, d.config.NATS)
	if logErr == nil && log != nil && log.degraded != "" {
		remedy := "start the program of the consumer that imctl attach list shows, or remove it: imctl attach remove NAME"
		if slowest, ok := log.Slowest(); ok && slowest.Attachment {
			remedy = "start the program of " + slowest.Name + ", or: imctl attach remove " + slowest.Name
		}
		d.add(levelFail, "log", remedy, "%s", log.degraded)
	}
	if err := errors.Join(err, fileErr, logErr); err != nil {
		d.add(levelFail, "streams", "imctl status", "%s", oneLine(err))
	}
}

// seenSessions is how many sessions are looked at for the address of a proxy.
const seenSessions = admin.MaxPage

// checkProxies compares http.trusted_proxies with the addresses of the sessions: behind a proxy that is not trusted, all
// clients have its address, and share its limits.
func (d *doctor) checkProxies(ctx context.Context, client *admin.Client) {
	addresses, users := make(map[string]int), make(map[string]bool)
	for page, err := range client.Sessions(ctx, admin.ListSessions{Limit: seenSessions}) {
		if err != nil {
			d.add(levelWarn, "proxies", "", "%s", oneLine(err))
			return
		}
		for _, s := range page {
			addresses[s.Address]++
			users[s.User] = true
		}
		break
	}
	for address, n := range addresses {
		if len(addresses) > 1 || len(users) < 2 || !isProxyAddress(address) {
			break
		}
		remedy := fmt.Sprintf("if a proxy runs there, set http.trusted_proxies: [%s]", address)
		if governor.Trusted(address, prefixes(d.config.HTTP.TrustedProxies)) {
			remedy = "let the proxy set X-Forwarded-For"
		}
		d.add(levelWarn, "proxies", remedy, "all %d sessions of %d users come from %s", n, len(users), address)
		return
	}
	trusted := d.config.HTTP.TrustedProxies
	if len(trusted) == 0 {
		d.ok("proxies", "none trusted, and none seen")
		return
	}
	d.ok("proxies", "trusted: %s", strings.Join(trusted, ", "))
}
