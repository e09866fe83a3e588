package cmd

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Only the embedded server stores its streams on the disk of the data directory. With an attached NATS server, the
// directory contains only certificates and a list of streams, so its disk does not matter for writes.

// mayWrite refuses durable writes while the embedded server's disk is nearly full.
func (b *backend) mayWrite(token bool) error {
	switch {
	case b.server == nil:
		return nil
	case token:
		return b.server.Disk().TokenWritable()
	}
	return b.server.Disk().Writable()
}

// readOnly returns the reason while durable writes are refused, or nil.
func (b *backend) readOnly() error {
	if b.server == nil {
		return nil
	}
	return b.server.Disk().ReadOnly()
}

// observeDisk registers the metrics of the embedded server's disk.
func (b *backend) observeDisk(r prometheus.Registerer) {
	if b.server == nil {
		return
	}
	disk := b.server.Disk()
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("imctl_disk_read_only", "1 if durable writes are refused because the data directory's disk is nearly full, else 0.", func() float64 {
		if disk.ReadOnly() != nil {
			return 1
		}
		return 0
	})
	gauge("imctl_disk_free_bytes", "Free bytes on the data directory's disk, without the reserve.", func() float64 { return float64(disk.State().FreeBytes) })
	gauge("imctl_disk_size_bytes", "Size of the data directory's disk.", func() float64 { return float64(disk.State().TotalBytes) })
	if disk.CountsFiles() {
		gauge("imctl_disk_free_inodes", "Free inodes on the data directory's disk, without the reserve.", func() float64 { return float64(disk.State().FreeFiles) })
		gauge("imctl_disk_inodes", "Inodes of the data directory's disk.", func() float64 { return float64(disk.State().TotalFiles) })
	}
}
