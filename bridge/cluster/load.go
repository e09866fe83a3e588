package cluster

import "time"

// Load is what a node has done since its start, and what it uses. The counters of two readings give rates.
type Load struct {
	At time.Time `json:"at"` // when it was read, by the clock of the node
	// Dialogues counts the answers to dialogues by outcome: delivered, stored, offline, refused or failed.
	Dialogues map[string]uint64 `json:"dialogues"`
	// Bounds are the upper bounds, in seconds, of the classes of answer times, and Answered counts the answers up to each
	// bound. The last count has no bound.
	Bounds   []float64         `json:"bounds"`
	Answered []uint64          `json:"answered"`
	Logins   map[string]uint64 `json:"logins"` // by outcome: admitted, refused or failed
	// Limited counts what limits have refused or slowed down.
	Limited uint64 `json:"limited"`
	// Sessions counts sessions by kind: contract, keep or nats.
	Sessions   map[string]int `json:"sessions"`
	Goroutines int            `json:"goroutines"`
	Memory     uint64         `json:"memory"`    // resident bytes
	CPU        float64        `json:"cpu"`       // seconds
	DiskFree   uint64         `json:"disk_free"` // bytes of the data directory's disk; 0 with an external NATS server
	DiskSize   uint64         `json:"disk_size"`
	// BackupEvery is the seconds between scheduled backups; 0 for a node that makes none, or does not tell.
	BackupEvery float64 `json:"backup_every,omitempty"`
}
