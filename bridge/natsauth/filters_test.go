package natsauth_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/bridgetest"
	"imctl/bridge/natsauth"
	"imctl/kv"
)

// TestFilters attaches consumers with several filters, one filter and none, and refuses what NATS refuses. A missing
// consumer is created again with the same filters.
func TestFilters(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	ctx := t.Context()
	js, err := jetstream.New(s.NC)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct{ filters, want []string }{
		"many": {[]string{"user.created.*", "dialogue.*.b", "dialogue.a.*"}, []string{"im.log.user.created.*", "im.log.dialogue.*.b", "im.log.dialogue.a.*"}},
		"one":  {[]string{"dialogue.>"}, []string{"im.log.dialogue.>"}},
		"none": {nil, []string{"im.log.>"}},
	} {
		a, _, err := s.Attachments.Add(ctx, name, kv.RoleConsumer, row.filters...)
		if err != nil {
			t.Fatal(err)
		}
		if stored, err := s.Store.Attachments.Get(ctx, name); err != nil || !slices.Equal(stored.AllFilters(), a.AllFilters()) || len(stored.AllFilters()) != len(row.want) {
			t.Errorf("%s: stored %+v, %v", name, stored, err)
		}
		has := func() {
			t.Helper()
			c, err := js.Consumer(ctx, "IM_LOG", name)
			if err != nil {
				t.Fatal(err)
			}
			config := c.CachedInfo().Config
			got := config.FilterSubjects
			if config.FilterSubject != "" {
				got = append(got, config.FilterSubject)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("%s: the consumer has the filters %s, want %s", name, got, row.want)
			}
		}
		has()
		if err := js.DeleteConsumer(ctx, "IM_LOG", name); err != nil {
			t.Fatal(err)
		}
		if err := natsauth.ReconcileConsumers(ctx, s.NC, s.Store, "im"); err != nil {
			t.Fatal(err)
		}
		has()
	}
	for _, filters := range [][]string{{"dialogue.>", "dialogue.a.b"}, {"user.created.a", ">"}, {"user.>", "user.>"}, {"user.>", "a..b"}} {
		_, _, err := s.Attachments.Add(ctx, "refused", kv.RoleConsumer, filters...)
		if !errors.Is(err, kv.ErrAttachmentInvalid) {
			t.Errorf("filters %s: got %v", filters, err)
		}
		if filters[0] == "dialogue.>" && !strings.Contains(err.Error(), "the filter dialogue.> includes dialogue.a.b, which NATS refuses: leave out dialogue.a.b") {
			t.Errorf("filters %s: %v", filters, err)
		}
	}
}
