package cmd

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"
)

var (
	queriedMetric = regexp.MustCompile(`\b(?:imctl|process|go)_[a-z0-9_]+`)
	describedName = regexp.MustCompile(`fqName: "([^"]+)"`)
)

// described returns the names of all metrics that a server has, also of those without a value yet.
func (s *server) described() map[string]bool {
	names, descriptions := make(map[string]bool), make(chan *prometheus.Desc)
	go func() {
		defer close(descriptions)
		s.app.registry.Describe(descriptions)
	}()
	for d := range descriptions {
		if m := describedName.FindStringSubmatch(d.String()); m != nil {
			names[m[1]] = true
		}
	}
	return names
}

// checkQueries checks that the metrics of queries exist.
func checkQueries(t *testing.T, s *server, queries map[string]string) {
	t.Helper()
	if len(queries) < 10 {
		t.Fatalf("only %d queries", len(queries))
	}
	names, served := s.described(), s.metrics(t)
	for where, query := range queries {
		for _, name := range queriedMetric.FindAllString(query, -1) {
			histogram := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
			if !names[name] && !names[histogram] && !strings.Contains(served, "\n# TYPE "+name+" ") {
				t.Errorf("%s: no metric %s", where, name)
			}
		}
	}
}

// TestDashboard checks that each panel of the Grafana dashboard has metrics that exist, and its place.
func TestDashboard(t *testing.T) {
	t.Parallel()
	var dashboard struct {
		UID    string
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	b, err := os.ReadFile("../contrib/grafana/imctl.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	queries, ids, taken := make(map[string]string), make(map[int]bool), make(map[[2]int]string)
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q: no title, no place or no id of its own", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("panel %q covers panel %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q has no query", p.Title)
		}
		for _, target := range p.Targets {
			queries[p.Title+": "+target.Expr] = target.Expr
		}
	}
	checkQueries(t, metricsServer(t), queries)
}

// TestAlertRules checks the alert rules and their unit tests with promtool, and that their metrics exist.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	const rules, tests = "../contrib/prometheus/alerts.yml", "../contrib/prometheus/alerts_test.yml"
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      struct{ Severity string }
				Annotations struct{ Summary, Action string }
			}
		}
	}
	b, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	tested, err := os.ReadFile(tests)
	if err != nil {
		t.Fatal(err)
	}
	queries := make(map[string]string)
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			queries[r.Alert] = r.Expr
			if r.Labels.Severity == "" || r.Annotations.Summary == "" || r.Annotations.Action == "" {
				t.Errorf("%s: no severity, summary or action", r.Alert)
			}
			for _, name := range []string{", fires\n", ", silent\n"} {
				if !strings.Contains(string(tested), "name: "+r.Alert+name) {
					t.Errorf("%s has no test%s", r.Alert, strings.TrimSpace(name))
				}
			}
		}
	}
	s := metricsServer(t)
	checkQueries(t, s, queries)
	run := promtool(t)
	run("", "check", "rules", rules)
	run("", "test", "rules", tests)
	// The other metrics are those of client_golang, of which promtool says the same in every program.
	var own strings.Builder
	for line := range strings.Lines(s.metrics(t)) {
		if strings.Contains(line, "imctl_") {
			own.WriteString(line)
		}
	}
	run(own.String(), "check", "metrics")
}
