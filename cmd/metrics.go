package cmd

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/natsutil"
)

// observe registers the metrics of the process as a whole.
func (a *App) observe() {
	b := readBuildInfo()
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "imctl_build_info", Help: "1, with the version, the revision and the Go version of the binary.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "goversion": b.Go}})
	build.Set(1)
	state := func(name, help string, holds func() bool) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return oneIf(holds()) })
	}
	a.registry.MustRegister(build, certificateCollector{a},
		state("imctl_ready", "1 while logins and dialogues work, as /readyz tells, else 0.", func() bool { return a.started.Load() && a.ready() == nil }),
		state("imctl_nats_connected", "1 while the node is connected to NATS, else 0.", func() bool { return a.backend.nc.IsConnected() }))
}

func oneIf(ok bool) float64 {
	if ok {
		return 1
	}
	return 0
}

// clients returns what counts the NATS clients of the embedded server, nil with an external one.
func (b *backend) clients() func() int {
	if b.server == nil {
		return nil
	}
	return b.server.Clients
}

var certificateDesc = prometheus.NewDesc("imctl_certificate_expiry_timestamp_seconds",
	"When the certificate of a listener expires, in seconds since 1970, the earliest if the listener has several.", []string{"listener"}, nil)

// certificateCollector collects when the certificates of the listeners expire.
type certificateCollector struct{ a *App }

// Describe implements prometheus.Collector.
func (c certificateCollector) Describe(out chan<- *prometheus.Desc) { out <- certificateDesc }

// Collect implements prometheus.Collector.
func (c certificateCollector) Collect(out chan<- prometheus.Metric) {
	for _, l := range c.a.config.listeners() {
		if at, ok := c.a.certs.Expiry(c.a.config.TLS.Mode, l.address, l.key == "listen"); ok {
			out <- prometheus.MustNewConstMetric(certificateDesc, prometheus.GaugeValue, float64(at.Unix()), l.key)
		}
	}
}

// streamsEvery is how often the metrics of the streams are read. A leader that is lost for less long harms nothing.
const streamsEvery = 30 * time.Second

// streamsCollector collects the state of the streams at the last reading.
type streamsCollector struct {
	mu   sync.Mutex
	last []streamInfo
}

var (
	streamLabel       = []string{"stream"}
	streamMessages    = prometheus.NewDesc("imctl_stream_messages", "Messages in a stream at the last reading.", streamLabel, nil)
	streamBytes       = prometheus.NewDesc("imctl_stream_bytes", "Size of a stream at the last reading.", streamLabel, nil)
	streamMaxBytes    = prometheus.NewDesc("imctl_stream_max_bytes", "Size limit of a stream, -1 for none.", streamLabel, nil)
	streamReplicas    = prometheus.NewDesc("imctl_stream_replicas", "Replicas that a stream should have.", streamLabel, nil)
	streamAvailable   = prometheus.NewDesc("imctl_stream_available", "1 if a stream had a leader that answered at the last reading, else 0.", streamLabel, nil)
	streamHealthy     = prometheus.NewDesc("imctl_stream_healthy", "1 if a stream had a leader and all replicas were current at the last reading, else 0.", streamLabel, nil)
	streamDescription = []*prometheus.Desc{streamMessages, streamBytes, streamMaxBytes, streamReplicas, streamAvailable, streamHealthy}
)

// Describe implements prometheus.Collector.
func (c *streamsCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range streamDescription {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *streamsCollector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.last {
		gauge := func(d *prometheus.Desc, value float64) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, s.Name)
		}
		available := s.State != streamMissing && s.State != streamLeaderless
		gauge(streamAvailable, oneIf(available))
		gauge(streamHealthy, oneIf(s.State == streamOK))
		if !available {
			continue
		}
		gauge(streamMessages, float64(s.Messages))
		gauge(streamBytes, float64(s.Bytes))
		gauge(streamMaxBytes, float64(s.MaxBytes))
		gauge(streamReplicas, float64(s.Replicas))
	}
}

// read reads the streams. A stream that does not answer has no leader.
func (c *streamsCollector) read(ctx context.Context, js jetstream.JetStream, prefix string) {
	all, err := readStreams(ctx, js, prefix)
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.last = all
		return
	}
	for i := range c.last {
		c.last[i].State = streamLeaderless
		for _, s := range all { // those that were read before the error
			if s.Name == c.last[i].Name {
				c.last[i] = s
			}
		}
	}
}

// watchStreams reads the metrics of the streams until the server stops.
func (a *App) watchStreams() error {
	js, err := natsutil.JetStream(a.backend.nc)
	if err != nil {
		return err
	}
	c := new(streamsCollector)
	a.registry.MustRegister(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(streamsEvery)
		defer tick.Stop()
		for {
			c.read(ctx, js, a.config.NATS.Prefix)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	a.stops.add("metrics of the streams", func(context.Context) error { cancel(); <-done; return nil })
	return nil
}
