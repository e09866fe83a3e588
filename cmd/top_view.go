package cmd

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"imctl/bridge/cluster"
)

// topSample is one reading of what top shows.
type topSample struct {
	at       time.Time
	accounts int
	nodes    []cluster.NodeStatus
	streams  []streamInfo
	log      *logInfo // nil if there is no event log
}

// topView is what top shows, and the JSON of a view.
type topView struct {
	Time      time.Time     `json:"time"`
	Accounts  int           `json:"accounts"`
	Nodes     []topNode     `json:"nodes"`
	Streams   []streamInfo  `json:"streams"`
	Consumers []topConsumer `json:"consumers"`
}

// topNode is the load of one node. Rates are per second.
type topNode struct {
	ID         string             `json:"id"`
	Host       string             `json:"host"`
	Version    string             `json:"version"`
	State      string             `json:"state"`
	Uptime     float64            `json:"uptime"` // seconds
	Sessions   int                `json:"sessions"`
	Kinds      map[string]int     `json:"kinds"` // sessions by kind
	Online     int                `json:"online"`
	Dialogues  map[string]float64 `json:"dialogues"` // rates by outcome
	P50        float64            `json:"p50"`       // seconds from a dialogue to its answer, 0 without dialogues
	P99        float64            `json:"p99"`
	Logins     map[string]float64 `json:"logins"`  // rates by outcome
	Limited    float64            `json:"limited"` // rate of refusals by limits
	CPU        float64            `json:"cpu"`     // percent of one processor
	Memory     uint64             `json:"memory"`  // bytes
	Goroutines int                `json:"goroutines"`
	DiskFree   uint64             `json:"disk_free"` // bytes, 0 with an external NATS server
	DiskSize   uint64             `json:"disk_size"`
}

// topConsumer is a consumer of the event log.
type topConsumer struct {
	Name   string  `json:"name"`
	Behind uint64  `json:"behind"` // entries
	Oldest float64 `json:"oldest"` // age in seconds of the oldest entry that it needs
}

// newTopView returns the view of a reading. Rates are those since the reading before, and of a node that was not read
// before, or has started again, since its start.
func newTopView(before, now topSample) topView {
	v := topView{Time: now.at.UTC(), Accounts: now.accounts, Nodes: []topNode{}, Streams: now.streams, Consumers: []topConsumer{}}
	for _, n := range now.nodes {
		last := cluster.NodeStatus{Node: n.Node}
		for _, b := range before.nodes {
			if b.ID == n.ID && b.Started.Equal(n.Started) {
				last = b
			}
		}
		v.Nodes = append(v.Nodes, newTopNode(last, n, now.at))
	}
	if now.log != nil {
		for _, l := range now.log.Consumers {
			c := topConsumer{Name: l.Name, Behind: l.Behind()}
			if !l.Oldest.IsZero() {
				c.Oldest = max(0, now.at.Sub(l.Oldest).Seconds())
			}
			v.Consumers = append(v.Consumers, c)
		}
	}
	return v
}

func newTopNode(before, now cluster.NodeStatus, at time.Time) topNode {
	n := topNode{ID: now.ID, Host: now.Host, Version: now.Version, State: now.State, Uptime: max(0, at.Sub(now.Started).Seconds()), Sessions: now.Sessions,
		Online: now.Users, Kinds: map[string]int{}, Dialogues: map[string]float64{}, Logins: map[string]float64{}}
	l := now.Load
	if l == nil {
		return n
	}
	last := before.Load
	if last == nil {
		last = &cluster.Load{At: now.Started}
	}
	seconds := l.At.Sub(last.At).Seconds()
	if seconds <= 0 {
		return n
	}
	n.Kinds, n.Goroutines, n.Memory, n.DiskFree, n.DiskSize = l.Sessions, l.Goroutines, l.Memory, l.DiskFree, l.DiskSize
	for outcome, count := range l.Dialogues {
		n.Dialogues[outcome] = float64(count-min(count, last.Dialogues[outcome])) / seconds
	}
	for outcome, count := range l.Logins {
		n.Logins[outcome] = float64(count-min(count, last.Logins[outcome])) / seconds
	}
	n.Limited = float64(l.Limited-min(l.Limited, last.Limited)) / seconds
	n.CPU = max(0, l.CPU-last.CPU) / seconds * 100
	answered := slices.Clone(l.Answered)
	for i := range min(len(answered), len(last.Answered)) {
		answered[i] -= min(answered[i], last.Answered[i])
	}
	n.P50, n.P99 = quantile(0.5, l.Bounds, answered), quantile(0.99, l.Bounds, answered)
	return n
}

// quantile returns the value below which a part of the observations is, as Prometheus estimates it: within a class they
// are spread evenly. counts are cumulative, and have one element more than bounds. It returns 0 without observations.
func quantile(part float64, bounds []float64, counts []uint64) float64 {
	if len(counts) == 0 || len(counts) != len(bounds)+1 || counts[len(counts)-1] == 0 {
		return 0
	}
	rank := part * float64(counts[len(counts)-1])
	lower, below := 0.0, 0.0
	for i, bound := range bounds {
		count := float64(counts[i])
		if count >= rank && count > below {
			return lower + (bound-lower)*(rank-below)/(count-below)
		}
		lower, below = bound, count
	}
	return lower
}

// topSorts compare two nodes by a column, the larger value first.
var topSorts = map[string]func(a, b topNode) int{
	"name":      func(a, b topNode) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.ID, b.ID)) },
	"sessions":  func(a, b topNode) int { return cmp.Compare(b.Sessions, a.Sessions) },
	"dialogues": func(a, b topNode) int { return cmp.Compare(sum(b.Dialogues), sum(a.Dialogues)) },
	"cpu":       func(a, b topNode) int { return cmp.Compare(b.CPU, a.CPU) },
	"memory":    func(a, b topNode) int { return cmp.Compare(b.Memory, a.Memory) },
}

// topColumns is the order in which the key s visits the columns.
var topColumns = []string{"name", "sessions", "dialogues", "cpu", "memory"}

func topSortNames() string { return strings.Join(topColumns, ", ") }

func nextSort(name string) string {
	return topColumns[(slices.Index(topColumns, name)+1)%len(topColumns)]
}

func sum(rates map[string]float64) (total float64) {
	for _, r := range rates {
		total += r
	}
	return total
}

const defaultWidth, defaultHeight = 80, 24

// write writes the view as JSON, as text, or to the screen.
func (v topView) write(out io.Writer, screen *topScreen, o topOptions) error {
	if o.json {
		return writeJSON(out, v)
	}
	if screen.size == nil {
		_, err := io.WriteString(out, strings.Join(v.lines(0, o), "\n")+"\n")
		return err
	}
	width, height := screen.size()
	lines := v.lines(max(width, 20), o)
	lines = lines[:min(len(lines), max(height-1, 1))]
	_, err := io.WriteString(out, screenHome+strings.Join(lines, lineEnd)+lineEnd+screenRest)
	return err
}

// lines returns the view in lines of at most width columns, 0 for no limit.
func (v topView) lines(width int, o topOptions) (lines []string) {
	add := func(parts ...string) { lines = append(lines, wrapped(width, parts)...) }
	online, sessions, kinds, dialogues, logins, limited := 0, 0, map[string]int{}, map[string]float64{}, map[string]float64{}, 0.0
	for _, n := range v.Nodes {
		online, sessions, limited = online+n.Online, sessions+n.Sessions, limited+n.Limited
		for kind, count := range n.Kinds {
			kinds[kind] += count
		}
		for outcome, rate := range n.Dialogues {
			dialogues[outcome] += rate
		}
		for outcome, rate := range n.Logins {
			logins[outcome] += rate
		}
	}
	add("imctl top  "+localTime(v.Time), "accounts "+fmt.Sprint(v.Accounts), "online "+fmt.Sprint(online),
		fmt.Sprintf("sessions %d (%d keep, %d NATS clients)", sessions, kinds["keep"], kinds["nats"]))
	add("dialogues "+perSecond(sum(dialogues)), "delivered "+perSecond(dialogues["delivered"]), "stored "+perSecond(dialogues["stored"]),
		"offline "+perSecond(dialogues["offline"]), "failed "+perSecond(dialogues["failed"]))
	add("logins "+perSecond(sum(logins)), "refused logins "+perSecond(logins["refused"]), "refused by limits "+perSecond(limited))
	if width > 0 {
		add("q quit", "s sort: "+o.sort, "r reverse")
	}
	lines = append(lines, "")
	lines = append(lines, columnsWithin(width, nodeColumns, v.nodeRows(o))...)
	lines = append(lines, "")
	lines = append(lines, columnsWithin(width, []string{"stream", "state", "fill", "bytes", "messages"}, v.streamRows())...)
	if rows := v.consumerRows(); len(rows) > 0 {
		lines = append(lines, "")
		lines = append(lines, columnsWithin(width, []string{"consumer", "behind", "oldest"}, rows)...)
	}
	return lines
}

// nodeColumns are in the order of their importance: a narrow terminal shows the first ones.
var nodeColumns = []string{"node", "state", "sess", "online", "dlg/s", "p50", "p99", "cpu", "mem", "disk free", "gor", "up", "version"}

func (v topView) nodeRows(o topOptions) (rows [][]string) {
	nodes := slices.Clone(v.Nodes)
	slices.SortStableFunc(nodes, func(a, b topNode) int {
		order := cmp.Or(topSorts[o.sort](a, b), topSorts["name"](a, b))
		if o.reverse {
			return -order
		}
		return order
	})
	for _, n := range nodes {
		disk := "-"
		if n.DiskSize > 0 {
			disk = fmt.Sprintf("%s %d%%", humanBytes(n.DiskFree), n.DiskFree*100/n.DiskSize)
		}
		rows = append(rows, []string{cmp.Or(n.Host, n.ID), shortened(n.State, 20), fmt.Sprint(n.Sessions), fmt.Sprint(n.Online), fmt.Sprintf("%.1f", sum(n.Dialogues)),
			milliseconds(n.P50), milliseconds(n.P99), fmt.Sprintf("%.0f%%", n.CPU), humanBytes(n.Memory), disk, fmt.Sprint(n.Goroutines),
			humanAge(time.Duration(n.Uptime * float64(time.Second))), orDash(n.Version)})
	}
	return rows
}

func (v topView) streamRows() (rows [][]string) {
	for _, s := range v.Streams {
		fill := "-"
		if s.MaxBytes > 0 {
			fill = fmt.Sprintf("%d%% of %s", s.percent(), humanBytes(uint64(s.MaxBytes)))
		}
		rows = append(rows, []string{s.Name, shortened(s.State, 24), fill, humanBytes(s.Bytes), fmt.Sprint(s.Messages)})
	}
	return rows
}

func (v topView) consumerRows() (rows [][]string) {
	for _, c := range v.Consumers {
		oldest := "-"
		if c.Oldest > 0 {
			oldest = humanAge(time.Duration(c.Oldest * float64(time.Second)))
		}
		rows = append(rows, []string{c.Name, fmt.Sprint(c.Behind), oldest})
	}
	return rows
}

func perSecond(rate float64) string { return fmt.Sprintf("%.1f/s", rate) }

func milliseconds(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fms", seconds*1000)
}

// shortened returns at most n characters of s.
func shortened(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// wrapped joins parts into lines of at most width columns, 0 for no limit.
func wrapped(width int, parts []string) (lines []string) {
	line := ""
	for _, p := range parts {
		switch {
		case line == "":
			line = p
		case width > 0 && columns(line)+2+columns(p) > width:
			lines = append(lines, shortened(line, width))
			line = p
		default:
			line += "  " + p
		}
	}
	if width > 0 {
		line = shortened(line, width)
	}
	return append(lines, line)
}

// columnsWithin returns a table with as many of its first columns as fit.
func columnsWithin(width int, header []string, rows [][]string) []string {
	for n := len(header); ; n-- {
		var text strings.Builder
		cut := make([][]string, len(rows))
		for i, row := range rows {
			cut[i] = row[:n]
		}
		_ = newTable(&text, slices.Clone(header[:n])...).write(cut...) // a Builder takes everything
		lines := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
		widest := 0
		for _, l := range lines {
			widest = max(widest, columns(l))
		}
		if width == 0 || widest <= width {
			return lines
		}
		if n == 1 {
			for i := range lines {
				lines[i] = shortened(lines[i], width)
			}
			return lines
		}
	}
}
